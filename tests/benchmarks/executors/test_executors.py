"""Every executor through the same tests."""

import operator
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from inarch import ConfigError, TrainingError
from inarch_benchmarks.executors import Executor, Here, ProcessPool, WorkerLost
from inarch_benchmarks.executors import slurm as slurm_executor
from inarch_benchmarks.executors.plugin import register_executors
from inarch_benchmarks.executors.pool import gpu_of
from inarch_benchmarks.executors.ray import Ray
from inarch_benchmarks.executors.slurm import Slurm

import jobs

TESTS = Path(jobs.__file__).parent

pytestmark = [
    # submitit leaves the streams and the process of a local job to the garbage collector
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


def slurm(folder: Path) -> Slurm:
    """submitit's local cluster in Slurm's place: the same files and the same waiting, without sbatch."""
    pytest.importorskip("submitit")
    return Slurm(2, folder, cluster="local")


def ray(folder: Path) -> Ray:
    pytest.importorskip("ray")
    return Ray(2)


MAKERS: dict[str, Callable[[Path], Executor]] = {
    "here": lambda folder: Here(1),
    "pool": lambda folder: ProcessPool(2),
    "ray": ray,
    "slurm": slurm,
}


SLOW = [pytest.param(name, marks=pytest.mark.thorough) for name in ("ray", "slurm")]  # half a minute and more each


@pytest.fixture(autouse=True, scope="module")
def folder_of_ray() -> Iterator[None]:
    """Where test processes beside this one find no cluster; pytest's own folders are too deep for a socket."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))  # for submitit's commands; the others are given the path by Python
        patch.setattr(slurm_executor, "GRACE", 0.5)
        with MAKERS[request.param](tmp_path_factory.mktemp("executor")) as made:
            yield made


everywhere = pytest.mark.parametrize("executor", ["here", "pool", *SLOW], indirect=True)
elsewhere = pytest.mark.parametrize("executor", ["pool", *SLOW], indirect=True)  # in processes that may die


@everywhere
def test_results_come_back_each_to_its_own_future(executor: Executor) -> None:
    futures = [executor.submit(operator.mul, number, 3) for number in range(4)]
    assert [future.result(60) for future in futures] == [0, 3, 6, 9]


@everywhere
def test_errors_come_back_with_type_and_message(executor: Executor) -> None:
    error = executor.submit(jobs.fail, "the loss is NaN").exception(60)
    assert type(error) is TrainingError
    assert str(error) == "the loss is NaN"
    assert type(executor.submit(operator.truediv, 1, 0).exception(60)) is ZeroDivisionError


@everywhere
def test_jobs_compute_on_one_thread(executor: Executor) -> None:
    before = torch.get_num_threads()
    assert executor.submit(jobs.threads).result(60) == 1
    assert torch.get_num_threads() == before


@elsewhere
def test_workers_have_the_priority_of_this_process(executor: Executor) -> None:
    """Or times could not be compared."""
    assert executor.submit(os.nice, 0).result(60) == os.nice(0)


@elsewhere
def test_an_error_that_cannot_be_carried_is_told_in_words(executor: Executor) -> None:
    error = executor.submit(jobs.fail_awkwardly).exception(60)
    assert type(error) is TrainingError
    assert str(error) == "AwkwardError: left right"
    assert any("fail_awkwardly" in note for note in error.__notes__)  # the worker's traceback


@elsewhere
def test_jobs_are_computed_elsewhere_and_two_at_a_time(executor: Executor, tmp_path: Path) -> None:
    door = tmp_path / "door"
    first = executor.submit(jobs.wait_until, door)  # ends only if the second runs meanwhile
    second = executor.submit(Path.touch, door)
    assert second.result(60) is None
    assert first.result(60) != os.getpid()


@elsewhere
def test_a_killed_worker_costs_an_attempt_of_its_own_job_alone(executor: Executor, tmp_path: Path) -> None:
    attempts, door = tmp_path / "attempts", tmp_path / "door"
    attempts.mkdir()
    other = executor.submit(jobs.wait_until, door)  # runs before, while and after the worker is killed
    killed = executor.submit(jobs.killed_at_first, attempts, 1)
    assert killed.result(120) == 2
    assert not other.done()
    door.touch()
    assert other.result(60)


@elsewhere
def test_a_job_that_always_kills_its_worker_is_lost_while_others_finish(executor: Executor, tmp_path: Path) -> None:
    lost = executor.submit(jobs.killed_at_first, tmp_path, 99)
    others = [executor.submit(operator.neg, number) for number in range(3)]
    assert [future.result(120) for future in others] == [0, -1, -2]
    with pytest.raises(WorkerLost, match="3 attempts"):
        lost.result(120)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["pool", *SLOW])
def test_leaving_by_an_error_stops_what_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    futures: list[Future[int]] = []

    def interrupted() -> None:
        with MAKERS[name](tmp_path / "executor") as executor:
            futures.extend(executor.submit(jobs.wait_until, tmp_path / "never") for _ in range(3))
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(20), WorkerLost)
    assert time.monotonic() - begin < 25.0  # the jobs would wait for 30 seconds


@pytest.mark.thorough
def test_leaving_without_an_error_waits_for_all_that_was_not_cancelled(tmp_path: Path) -> None:
    with ProcessPool(1) as pool:
        first, second, third = (pool.submit(jobs.wait_until, tmp_path / "door") for _ in range(3))
        assert second.cancel()
        (tmp_path / "door").touch()
    assert first.result(0) == third.result(0)


PARENT = """
import sys
from pathlib import Path

import jobs
from inarch_benchmarks.executors import ProcessPool

if __name__ == "__main__":
    with ProcessPool(1) as pool:
        print(pool.submit(jobs.process).result(), flush=True)
        pool.submit(jobs.wait_until, Path(sys.argv[1])).result()
"""


@pytest.mark.thorough
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Or a run would go on beside the one that resumes it."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(tmp_path / "never")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(TESTS)}
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 10.0
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(worker)


def alive(process: int) -> bool:
    """Whether it runs; what has ended but was not asked after by its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_are_spread_over_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [gpu_of(number) for number in range(3)] == ["3", "5", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [gpu_of(number) for number in range(3)] == ["0", "1", "0"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert gpu_of(0) is None


def test_what_cannot_be_pickled_is_refused_at_once() -> None:
    with ProcessPool(1) as pool, pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pool.submit(lambda: 1)


@pytest.mark.parametrize("kind", [ProcessPool, Here])
def test_no_workers_are_refused(kind: type[Executor]) -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        kind(0)


def test_here_has_one_worker() -> None:
    with pytest.raises(ConfigError, match="engine pool"):
        Here(2)


@pytest.mark.thorough
def test_ray_joins_a_cluster_and_survives_the_loss_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        with Ray(1) as executor:
            doors = [tmp_path / "one", tmp_path / "two"]
            futures = [executor.submit(jobs.knock_and_wait, door) for door in doors]  # one on each machine
            for door in doors:
                jobs.wait_until(door.with_suffix(".knock"), 60)
            cluster.remove_node(other, allow_graceful=False)
            for door in doors:
                door.touch()
            assert all(future.result(120) for future in futures)
    finally:
        cluster.shutdown()


@pytest.mark.parametrize("executor", SLOW[:1], indirect=True)
def test_a_cluster_that_another_session_made_is_not_joined(executor: Executor) -> None:
    script = (
        "import ray; from inarch_benchmarks.executors.ray import Ray\n"
        "with Ray(1): print(ray.cluster_resources()['CPU'])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.split() == ["1.0"]
    assert executor.submit(operator.neg, 1).result(60) == -1


@pytest.mark.thorough
def test_slurm_carries_a_job_through_submitit(tmp_path: Path) -> None:
    with slurm(tmp_path) as executor:
        assert executor.submit(operator.mul, 6, 7).result(60) == 42
    assert list(tmp_path.iterdir()) == []  # the files of a job go with its answer


def test_slurm_is_refused_where_there_is_none(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="sbatch"):
        Slurm(1, tmp_path)


@pytest.mark.parametrize(("module", "kind", "extra"), [("ray", Ray, "ray"), ("submitit", Slurm, "slurm")])
def test_a_missing_library_is_named_with_its_extra(
    module: str, kind: type[Executor], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"inarch\[{extra}\]"):
        kind(1)


def test_the_plugin_brings_four() -> None:
    brought: list[type[Executor]] = []
    register_executors(brought.append)
    assert [executor.name for executor in brought] == ["pool", "here", "ray", "slurm"]
