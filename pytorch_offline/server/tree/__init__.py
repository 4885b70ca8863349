"""The tree of one mirror as a site: its paths, its pages in memory, its files on the disk, and what changes of them."""
