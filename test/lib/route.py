"""A Service's address in the harness's network: what kube-proxy does on a node.

New connections to the front go to one of the Service's ready endpoints at that moment; without one
they are refused. Established connections stay where they are, as with kube-proxy.
"""
import asyncio
import threading

CONNECT_S = 1


class Route:
    """Front of one Service: `with Route(kube, net, ns, "pg-rw") as r:` then connect to r.address."""

    def __init__(self, kube, net, namespace, service, port=5432):
        self.ip, self.port = net.service_ip(), port
        self.address = f"{self.ip}:{port}"
        self.backends = []
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"route {service}")
        self._thread.start()
        self._ready.wait()
        self._follow = kube.follow_endpoints(namespace, service, self._changed)

    def _changed(self, addresses):
        self.backends = list(addresses)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, self.ip, self.port))
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer):
        backends = self.backends
        if not backends:
            writer.transport.abort()
            return
        self._turn += 1
        target = backends[self._turn % len(backends)]
        try:
            there = await asyncio.wait_for(asyncio.open_connection(target, self.port), CONNECT_S)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    @staticmethod
    async def _pump(source, sink):
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.close()
        except (OSError, RuntimeError):
            sink.transport.abort()

    def close(self):
        self._follow.close()

        def end():
            self._server.close()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_later(0.05, self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
