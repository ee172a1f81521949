"""The verb serve: a web page that finds people on pictures; needs no tensorflow."""

from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.serving import LOOPBACK, make_server


def serve(config: ConfigDict, workdir: Path, step: int | None, raw: bool, host: str, port: int) -> str:
    """Serves until control-C; see `make_server`. The first picture of each size waits for the compiler."""
    server = make_server(Predictor.from_checkpoint(workdir, step, config, raw=raw), host, port)
    print(f"http://{host}:{server.server_port}/ finds people with {workdir}; control-C ends it", flush=True)
    if host not in LOOPBACK:
        print(f"whoever reaches {host} can use it: there is no password", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return "ended"
    finally:
        server.server_close()
    return ""
