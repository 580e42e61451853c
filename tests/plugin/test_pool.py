"""--ensemble-pool and --ensemble-data: what is missing or can't be used, in one message each."""

import numpy as np
import pytest

from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.paths import pattern_in
from tests.plugin import corner
from tests.plugin.conftest import said, stopped


@pytest.fixture
def gated(repo):
    repo.gate("min_uniqueness(0.7)")
    return repo


def broken(result, *parts):
    """Whether the test was an error in its setup, with one message and no traceback."""
    result.assert_outcomes(errors=1)
    assert stopped(result, *parts)
    assert said(result).count(parts[0]) <= 2  # the error, and its line in the short summary
    return True


@pytest.mark.parametrize(
    ("name", "value"), [("pool", "no/such"), ("pool", "models/*.pb"), ("data", "no.npz")]
)
def test_what_does_not_exist_stops_pytest(gated, name, value):
    result = gated.run(f"--ensemble-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"--ensemble-{name}: {value!r} does not exist. Valid: ")
    gated.monkeypatch.setenv(f"PYTEST_ENSEMBLE_{name.upper()}", value)
    assert gated.run().ret == pytest.ExitCode.USAGE_ERROR


def test_a_glob_pattern_finds_models(gated):
    assert "candidates" not in said(gated.run("--ensemble-pool=models/m[1-4].onnx"))
    gated.run("--ensemble-pool=models/m[1-4].onnx").assert_outcomes(passed=1)


def test_folder_of_the_ini_that_does_not_exist(gated):
    gated.ini(pool="no/such")
    assert broken(gated.run(), "No model found at", "(From ensemble_pool in tox.ini.)")


def test_empty_folder(gated):
    (gated.path / "empty").mkdir()
    assert broken(
        gated.run("--ensemble-pool=empty"), "No *.onnx file in the folder", "(From --ensemble-pool.)"
    )


def test_no_pool(gated):
    gated.ini(pool=None)
    assert broken(gated.run(), "No pool was given.", "--ensemble-pool=DIR", "fixture ensemble_pool")


def test_no_data(gated):
    gated.ini(data=None)
    assert broken(gated.run(), "No labelled data was given.", "--ensemble-data=FILE.npz")


def test_corrupt_onnx(gated):
    (gated.path / "models" / "m3.onnx").write_bytes(b"not a model")
    assert broken(gated.run(), "m3.onnx: not an ONNX")


def test_unsupported_operator(gated):
    import onnx

    path = gated.path / "models" / "m3.onnx"
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"
    onnx.save(model, path)
    assert broken(gated.run(), "m3.onnx", "Tanh")


def test_mismatched_shapes(gated):
    (gated.path / "models" / "m6.onnx").write_bytes(corner.model_bytes(0, 7))
    assert broken(gated.run(), "Models of one pool need the same input size", "m6.onnx has 7")


def save(repo, x=None, y=None):
    good = corner.data()
    np.savez(repo.path / "data.npz", x=good[0] if x is None else x, y=good[1] if y is None else y)


def test_nan_in_the_data(gated):
    x, _ = corner.data()
    x[3, 0] = np.nan
    save(gated, x=x)
    assert broken(gated.run(), "x has NaN or infinite values, first in row 3")


def test_label_out_of_range(gated):
    _, y = corner.data()
    y[5] = 9
    save(gated, y=y)
    assert broken(gated.run(), "the label 9 in row 5 is not a class of the models, 0..1")


def test_data_without_labels(gated):
    np.savez(gated.path / "data.npz", x=corner.data()[0])
    assert broken(gated.run(), "has no array 'y'")


def test_data_of_another_shape(gated):
    save(gated, x=np.zeros((25, 3)))
    assert broken(gated.run(), "has 3 numbers a sample")


def test_too_few_agreement_points(gated):
    gated.ini(points=21)
    assert broken(gated.run(), "21 agreement points were asked for; 20 of the 25", "disagrees most")


def test_models_no_better_than_chance(gated):
    _, y = corner.data()
    save(gated, y=1 - y)
    assert broken(gated.run(), "no better than chance", "normalised")


def test_missing_engine(gated):
    gated.conftest("""
        from pytest_ensemble.analysis import analysis
        from pytest_ensemble.errors import EngineError
        import pytest

        @pytest.fixture(autouse=True)
        def no_engine(monkeypatch):
            def missing(name, **options):
                raise EngineError("maraboupy is not installed here.")
            monkeypatch.setattr(analysis, "make_engine", missing)
    """)
    assert broken(gated.run(), "maraboupy is not installed here.")


def test_a_broken_pool_is_read_once_for_all_tests(gated):
    gated.conftest("""
        import pytest
        from pytest_ensemble.networks.pool import Pool
        load = Pool.load
        @pytest.fixture(scope="session", autouse=True)
        def counted():
            calls = []
            Pool.load = classmethod(lambda cls, where: (calls.append(where), load(where))[1])
            yield
            Pool.load = load
            print("LOADED", len(calls))
    """)
    (gated.path / "models" / "m3.onnx").write_bytes(b"not a model")
    gated.gate("min_uniqueness(0.7)", name="test_again")
    result = gated.run("-s")
    result.assert_outcomes(errors=2)
    assert "LOADED 1" in said(result)


def test_a_pool_without_gates_is_told_so_and_changes_nothing(repo):
    repo.test(fixture="", body="pass")
    result = repo.run("--ensemble-pool=models")
    assert result.ret == 0
    assert "no selected test declares a gate" in said(result)
    repo.gate("min_uniqueness(0.7)", name="test_gate")
    assert "no selected test" not in said(repo.run("--ensemble-pool=models"))


def test_a_folder_named_like_a_pattern_is_none(repo):
    """Its neighbour, which the pattern would match, is another pool."""
    inner = repo.path / "pro[j]"
    inner.mkdir()
    (repo.path / "models").rename(inner / "models")
    (repo.path / "proj").mkdir()
    (repo.path / "proj" / "models").mkdir()
    for pool in ("models", "models/*.onnx", "mod*/m[1-6].onnx"):
        assert len(Pool.load(pattern_in(inner, pool))) == len(list((inner / "models").iterdir()))
    assert Pool.load(pattern_in(inner, "models/m1.onnx")).names == ("m1",)


def test_names_with_tildes_are_refused(repo):
    (repo.path / "models" / "m1.onnx").rename(repo.path / "models" / "m1~m2.onnx")
    repo.gate("min_uniqueness(0)")
    assert "a name with '~' can't be told from that of a pair. Rename it." in said(repo.run())
