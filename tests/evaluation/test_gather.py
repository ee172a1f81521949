import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from querypose_jax.devices.sharding import make_mesh, put_batch
from querypose_jax.errors import UserError
from querypose_jax.evaluation import gather
from querypose_jax.evaluation.runner import evaluate
from querypose_jax.skeletons import COCO
from tests.evaluation.test_runner import IDS, batch_of, batches, perfect, truth


def test_poses_are_gathered_with_the_ids_of_their_pictures():
    mesh = make_mesh(ConfigDict({"data": 1, "fsdp": 1}))
    batch = batch_of(IDS)
    expected = perfect(batch)
    find = gather.gathering(lambda placed: jax.tree.map(jax.numpy.asarray, expected), mesh)
    ids, poses = find(put_batch(batch, mesh))
    np.testing.assert_array_equal(ids, IDS)
    jax.tree.map(lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=1e-6), poses, expected)


def test_a_process_that_holds_half_of_each_batch_scores_all_pictures_and_draws_its_own(tmp_path):
    whole = evaluate(perfect, batches(), truth(), COCO, progress=False)
    other_half = {IDS[0]: IDS[2:], IDS[1]: ()}  # by the first picture of the own half: what the other process has

    def find(batch):
        ids = (*batch.image_id.tolist(), *other_half[int(batch.image_id[0])])
        return np.array(ids), perfect(batch_of(ids))

    own = [batch_of(IDS[:1]), batch_of(IDS[1:2])]
    found = evaluate(find, own, truth(), COCO, tmp_path, progress=False, num_pictures=len(IDS))
    assert found == whole
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {str(IDS[0]), str(IDS[1])}


@pytest.fixture
def messages(monkeypatch):
    """Two processes; what process 0 says is kept, and said again to whoever asks next as process 1."""
    sent: list[np.ndarray] = []

    def broadcast(content):
        if jax.process_index() == 0:
            sent.append(np.asarray(content))
            return content
        said = sent.pop(0)
        assert np.shape(content) == said.shape
        return said

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", broadcast)
    return sent


def in_both(monkeypatch, compute) -> list:
    """What `tell` gives, or raises, in process 0 and in process 1."""
    results = []
    for process, work in enumerate((compute, None)):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        try:
            results.append(gather.tell(work))
        except UserError as error:
            results.append(str(error))
    return results


def test_what_process_0_finds_is_told_to_the_other_to_the_bit(messages, monkeypatch):
    metrics = {"keypoint/AP": 1 / 3, "box/AP": -1.0}
    assert in_both(monkeypatch, lambda: metrics) == [metrics, metrics]


def test_an_error_of_process_0_is_raised_in_both(messages, monkeypatch):
    def fail():
        raise UserError("17 pictures are missing")

    assert in_both(monkeypatch, fail) == ["17 pictures are missing"] * 2
