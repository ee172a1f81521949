import jax
import pytest

from querypose_jax.devices import distributed
from querypose_jax.devices.preemption import Stopped
from querypose_jax.errors import UserError


@pytest.fixture
def joined(monkeypatch):
    """The arguments of every jax.distributed.initialize; the environment says nothing."""
    calls: list[tuple] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs)))
    for name in ("SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return calls


def test_an_ordinary_machine_is_alone(joined):
    distributed.join(None, None, None, 100)
    assert joined == []


def test_told_processes_join_with_the_configured_heartbeat(joined):
    distributed.join("host:1234", 1, 2, 15)
    [(args, kwargs)] = joined
    assert args == ("host:1234", 2, 1)
    assert kwargs["heartbeat_timeout_seconds"] == 15


def test_tasks_of_srun_join_and_one_task_or_one_process_does_not(joined, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    distributed.join(None, None, None, 100)
    assert joined == []
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    distributed.join(None, None, 1, 100)
    assert joined == []
    distributed.join(None, None, None, 100)
    assert [args for args, _ in joined] == [(None, None, None)]


@pytest.mark.parametrize(("processes", "backend", "keeps"), [(1, "cpu", True), (2, "tpu", True), (2, "cpu", False)])
def test_processes_on_cpus_compile_alike_and_keep_no_programs(joined, monkeypatch, processes, backend, keeps):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    changed = []
    monkeypatch.setattr(jax.config, "update", lambda *change: changed.append(change))
    distributed.join("host:1234", 0, 2, 15)
    assert changed == [("jax_enable_compilation_cache", False)] * (not keeps)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("host:1", None, 2), "belong together"),
        ((None, 0, 2), "belong together"),
        (("host", 0, 2), "--coordinator=host is not HOST:PORT"),
        (("host:1", 2, 2), r"--process_id=2 is not in 0..1"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(joined, told, message):
    with pytest.raises(UserError, match=message):
        distributed.join(*told, 100)
    assert joined == []


def test_processes_that_do_not_come_are_one_line(joined, monkeypatch):
    def initialize(*args, **kwargs):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match="did not find each other at host:1: DEADLINE_EXCEEDED: nobody$"):
        distributed.join("host:1", 0, 2, 100)


LOST = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:13740")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (LOST, distributed.PEER_LOST, "lost another process of the run (UNKNOWN: Gloo"),
        (UserError("picture 7 is broken"), 2, "error: picture 7 is broken"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), 1, "out of memory"),
        (ValueError("a mistake"), 1, "Traceback"),
    ],
)
def test_what_fails_in_one_of_several_processes_ends_it_at_once(monkeypatch, capsys, error, code, message):
    class Ended(BaseException):
        pass

    def end(status):
        raise Ended(status)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed.os, "_exit", end)
    with pytest.raises(Ended) as ended, distributed.together():
        raise error
    assert ended.value.args == (code,)
    assert message in capsys.readouterr().err


def test_alone_errors_go_their_usual_way_and_a_stop_always_does(monkeypatch):
    with pytest.raises(ValueError, match="a mistake"), distributed.together():
        raise ValueError("a mistake")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(Stopped), distributed.together():
        raise Stopped
