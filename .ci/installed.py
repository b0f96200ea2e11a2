"""Does this installation work? Run by .ci/run in an empty directory, where no checkout can be found by accident.

Imports every package and every compiled module, and sends one record through a cluster of its own.
"""

from __future__ import annotations

import importlib
import pkgutil

import shmlog
import shmlog.tools
import shmlog.workers


def main() -> None:
    for package in (shmlog, shmlog.tools, shmlog.workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.ispkg or module.name.startswith("shmlog.native."):
                importlib.import_module(module.name)
    with shmlog.start("data") as cluster:
        cluster.admin.create_topic("topic")
        with cluster.producer() as producer:
            producer.send("topic", b"value").result(timeout=10.0)
        with cluster.consumer("topic", consumer_timeout_ms=1000) as consumer:
            values = [record.value for record in consumer]
    assert values == [b"value"], values
    print("works:", *shmlog.__path__, *shmlog.workers.__path__, *shmlog.tools.__path__)


if __name__ == "__main__":
    main()
