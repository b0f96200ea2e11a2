"""`shmlog torture`: kill, stop and fail everything by a seeded plan, and prove that nothing was lost."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import click
import orjson

from shmlog.cli.main import EXIT_INTERRUPTED
from shmlog.cli.output import output_option, print_json
from shmlog.cli.torture.cast import Cast
from shmlog.cli.torture.course import Course
from shmlog.cli.torture.judging import copy_complaints, group_verdict, judge, log_complaints
from shmlog.cli.torture.plan import Plan, make_plan, plan_from_json
from shmlog.cli.torture.profile import Profile, load_profile, profile_text
from shmlog.cli.torture.progress import Progress
from shmlog.cli.torture.records import Recipe
from shmlog.cli.torture.report import Report
from shmlog.cli.torture.stage import Stage
from shmlog.errors import InvalidConfigError, ShmlogError

SEED_MAX = 2**32


class NothingProvedError(ShmlogError):
    """A torture in which nobody was killed."""

    name = "NOTHING_PROVED"


@click.command(
    epilog="""\b
Examples:
  shmlog torture                                 30 seconds, a seed of its own, which is printed
  shmlog torture --seconds 600 --seed 7
  shmlog torture --print-profile > mine.toml     then change your settings in it, and
  shmlog torture --profile mine.toml
  shmlog torture --seed 7 --dry-run -o json > plan.json
  shmlog torture --plan plan.json                after taking faults out, to find the one that matters
"""
)
@click.option(
    "--seconds", type=click.FloatRange(1, 86400), default=30.0, show_default=True, help="How long faults go on."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX - 1), help="Makes the plan. Default: a random one.")
@click.option(
    "--profile",
    "profile_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A TOML file: rates, sizes, settings.",
)
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Replay this plan instead of making one.",
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Keep the data here. Default: a temporary directory."
)
@click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing.")
@click.option("--print-profile", is_flag=True, help="Print the profile with all its keys, and do nothing.")
@output_option
def torture(
    seconds: float,
    seed: int | None,
    profile_file: str | None,
    plan_file: str | None,
    data_dir: str | None,
    dry_run: bool,
    print_profile: bool,
    output: str,
) -> None:
    """Torture a cluster of real processes, and judge whether it kept its promises.

    Starts a cluster of its own, with producers, consumers and a consumer group. By a plan that follows from the seed it
    kills and stops clients, members of the group and its coordinator, owners, the supervisor and the zygote, makes the
    disk fail (full, broken, or writing half), and sets the clock. Then it heals everything, demands progress, reads all
    records through consumers and from the segment files, and compares them with what every client noted: nothing
    acknowledged may be lost, doubled, out of order or unread; the group may read again only what was not committed.
    The last line is the verdict; anything wrong makes the exit code 1.
    """
    profile = load_profile(profile_file)
    if print_profile:
        click.echo(profile_text(profile), nl=False)
        return
    plan = _plan(plan_file, seconds, seed, profile)
    if dry_run:
        _print_plan(plan, output)
        return
    if data_dir is not None and Path(data_dir).exists() and any(Path(data_dir).iterdir()):
        raise InvalidConfigError(f"{data_dir} is not empty: a torture needs a data directory of its own (--data-dir)")
    click.echo(f"seed {plan.seed}: {len(plan.faults)} faults in {plan.seconds:g} s", err=output == "json")
    scratch = Path(tempfile.mkdtemp(prefix="shmlog-torture-"))
    report = None
    try:
        report, interrupted = _torture(profile, plan, scratch, Path(data_dir).absolute() if data_dir else None)
    finally:
        if report is not None and report.ok:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            where = scratch if data_dir is None else f"{scratch} and {data_dir}"
            click.echo(f"histories, data and the cluster's log are kept in {where}", err=True)
    _finish(report, output)
    if interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _plan(plan_file: str | None, seconds: float, seed: int | None, profile: Profile) -> Plan:
    if plan_file is None:
        return make_plan(secrets.randbelow(SEED_MAX) if seed is None else seed, seconds, profile.rates)
    try:
        return plan_from_json(orjson.loads(Path(plan_file).read_bytes()))
    except (orjson.JSONDecodeError, InvalidConfigError) as error:
        raise InvalidConfigError(f"{plan_file}: {error}") from None


def _print_plan(plan: Plan, output: str) -> None:
    if output == "json":
        sys.stdout.write(orjson.dumps(plan.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
        return
    click.echo(f"seed {plan.seed}: {len(plan.faults)} faults in {plan.seconds:g} s")
    for fault in plan.faults:
        click.echo(str(fault))


def _torture(profile: Profile, plan: Plan, scratch: Path, data_dir: Path | None) -> tuple[Report, bool]:
    histories = scratch / "histories"
    histories.mkdir()
    recipe = Recipe.of({name: topic.partitions for name, topic in profile.topics.items()}, profile.record_bytes_max)
    with Progress(plan.seconds) as progress, Stage(profile, scratch, data_dir) as stage:
        cast = Cast(stage.name, profile, plan.seed, histories, stage.clients_environment)
        course = Course(stage, cast, plan, progress)
        try:
            injector = course.run()
        finally:
            cast.end()
        progress.say("judging")
        complaints = [*course.complaints, *cast.complaints]
        verdict = judge(histories, recipe, course.log_dirs, complaints)
        members = [player.member for player in cast.members if player.member]
        group = group_verdict(histories, course.ends if profile.members else {}, members, injector.down)
        complaints += [f"group: {example}" for example in group.examples]
        for place, (first, *others) in course.replica_dirs.items():
            complaints += copy_complaints(place, first, others)
        complaints += log_complaints(stage.log_file, injector.killed_owners)
    report = Report.of(plan.seed, course.seconds, injector, verdict, group, complaints, cast.troubles)
    return report, course.interrupted


def _finish(report: Report, output: str) -> None:
    if output == "json":
        print_json(report.as_json())
    else:
        report.print()
    if report.kills == 0:
        raise NothingProvedError("nobody was killed, so this run proves nothing: give it more --seconds or a kill rate")
    if not report.ok:
        raise click.exceptions.Exit(1)
