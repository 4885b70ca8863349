"""The LAN mirror: the mirror's tree over HTTP, with what a static web server cannot do."""
