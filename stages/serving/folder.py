"""The folder of a running service: sockets, and the files of the page's sessions."""

UPLOADS = "files"  # the folder in it for what Gradio keeps
PREFIX = "iedit-serve-"  # in the system's own folder, because the address of a socket has room for 108 bytes
