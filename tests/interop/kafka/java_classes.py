"""Kafka's own classes, as Maven Central has them: found once, run in a JVM of their own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
RESOLVE_TIMEOUT_S = 600  # with nothing in ~/.m2 it fetches 100 MB
JVM = (
    "java",
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


@dataclass(frozen=True, slots=True)
class KafkaClasses:
    """Where the jars are."""

    class_path: str

    @classmethod
    def resolve(cls, scratch: Path) -> KafkaClasses:
        """Ask Maven for the jars that the pom names; what is not in ~/.m2 yet it fetches."""
        found = scratch / "class-path"
        goal = ("dependency:build-classpath", f"-Dmdep.outputFile={found}")
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(POM), *goal],
            capture_output=True,
            text=True,
            timeout=RESOLVE_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"mvn could not resolve {POM}:\n{done.stdout}{done.stderr}"
        return cls(found.read_text().strip())

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """What starts a JVM with this class."""
        return [*JVM, "-cp", self.class_path, main_class, *arguments]

    def run(self, main_class: str, *arguments: str, timeout_s: float = 60) -> str:
        """What it prints, behind that what it prints as errors; fails with all of it unless it ends well."""
        done = subprocess.run(
            self.command(main_class, *arguments), capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{main_class} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr
