"""`shmlog doctor`: what on this host can hurt a cluster, each with what to do about it."""

from __future__ import annotations

import click

from shmlog.cli.attach import cluster_option
from shmlog.cli.cluster_paths import OutOfReachError, expect_cluster, find_cluster
from shmlog.cli.host_checks import CHECKS, Finding
from shmlog.cli.leftovers import check_leftovers
from shmlog.cli.output import output_option, print_json
from shmlog.cli.reserve_check import check_disk_reserve


@click.command(
    epilog="""\b
Examples:
  shmlog doctor
  shmlog doctor -o json | jq '.[] | select(.verdict != "ok")'
"""
)
@cluster_option
@output_option
def doctor(name: str | None, output: str) -> None:
    """Check /dev/shm, limits, RemoveIPC, cgroups, disks, clusters and what dead ones left; say what to do.

    Needs no running cluster. The exit code is 1 if something must be changed before shmlog can work.
    """
    try:
        place = find_cluster(name)
    except OutOfReachError:  # which check_runtime_directory reports
        place = expect_cluster(name)
    findings = [finding for check in (*CHECKS, check_disk_reserve, check_leftovers) for finding in check(place)]
    if output == "json":
        print_json([{field: getattr(f, field) for field in Finding.__slots__} for f in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.verdict:<5} {finding.subject}: {finding.found}")
            if finding.remedy:
                click.echo(f"      -> {finding.remedy}")
    if any(finding.verdict == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
