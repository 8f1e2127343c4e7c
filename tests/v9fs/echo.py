"""Listens on a free port of the loopback interface, prints its address, and echoes all data."""

import shutil
import socketserver


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        shutil.copyfileobj(self.rfile, self.wfile)


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
