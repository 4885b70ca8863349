"""The values of a bundle and the codec of its manifest."""
