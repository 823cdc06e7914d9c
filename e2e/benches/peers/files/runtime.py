"""The network behind HarmonyBatch: one process that takes batches over one connection at a time, as raw tensors behind JSON.

It does nothing but that. What calls it is the gateway, which has checked and joined the requests.
"""

import json
import socketserver
import sys

import numpy as np

import session

network = session.load(sys.argv[1])


class Batches(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while self.rfile.readline():
            head = {}
            for line in iter(self.rfile.readline, b"\r\n"):
                name, _, value = line.partition(b":")
                head[name.lower()] = value
            json_length = int(head[b"inference-header-content-length"])
            request = json.loads(self.rfile.read(json_length))
            tensor = self.rfile.read(int(head[b"content-length"]) - json_length)
            (described,) = request["inputs"]
            rows = np.frombuffer(tensor, np.float32).reshape(described["shape"])
            outputs = network.run(["output", "echo"], {"input": rows})
            self.wfile.write(answer(request.get("id"), outputs))


def answer(id, outputs):
    described = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": output.shape,
            "parameters": {"binary_data_size": output.nbytes},
        }
        for name, output in zip(["output", "echo"], outputs)
    ]
    body = json.dumps({"model_name": "net", "id": id, "outputs": described}).encode()
    length = len(body) + sum(output.nbytes for output in outputs)
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ninference-header-content-length: {len(body)}\r\n\r\n"
    return b"".join([head.encode(), body, *(output.tobytes() for output in outputs)])


with socketserver.TCPServer(("127.0.0.1", 0), Batches) as server:
    print("127.0.0.1:%d" % server.server_address[1], flush=True)
    server.serve_forever()
