"""The machine to serve: interpreter, tags, markers, libc, accelerator."""
