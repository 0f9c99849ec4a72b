"""What lies in a bucket and its copies here, against a real S3 server: whole or not at all, and what goes wrong."""

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backend_ml import buckets
from backend_ml.backup.archive import BackupError
from backend_ml.backup.load import Target
from backend_ml.buckets import BucketError, address, bring, fetched, here, in_bucket, share
from backend_ml.cli.main import app
from backend_ml.doctor import host
from backend_ml.kinds.beside import with_vectors
from backend_ml.settings import Settings, SettingsError
from backend_ml.store.encoders import keep_checkpoint
from lvm_training.heads.beside import ColumnError, read_column
from lvm_training.pool.features import Features
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.sky import write_stamps
from tests.s3_server import S3Server, line_to
from tests.tiny_encoder import write_tiny

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def patch(tmp_path: Path, s3: S3Server) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a host that may use the server."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GALAXYLOOP_CACHE", str(tmp_path / "one"))
        use(patched, **s3.environment())
        yield patched
    buckets._client.cache_clear()


def use(patch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)
    buckets._client.cache_clear()


def another_host(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("GALAXYLOOP_CACHE", str(folder))


def checkpoint(folder: Path, size: int = 100_000) -> Path:
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(250)) * (size // 250))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(act: Path) -> BucketError:
    with pytest.raises(BucketError) as caught:
        bring(act)
    assert "\n" not in str(caught.value) and caught.value.hint
    return caught.value


def test_paths_that_are_no_copies_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_CACHE", str(tmp_path / "cache"))
    for path in (tmp_path / "store" / "encoders", tmp_path / "cache"):
        assert here(path) == bring(path) == fetched(path) == path and address(path) == str(path)
        share(path)
    assert address(Path("store")) == str(Path.cwd() / "store")
    copy = tmp_path / "cache/s3:/team/store/encoders/abc"
    assert here("s3://team/store/encoders/abc") == here(Path("s3://team/store/encoders/abc")) == here(copy) == copy
    assert address(copy) == "s3://team/store/encoders/abc" and in_bucket(Path("s3://team")) and not in_bucket(copy)


def test_a_folder_is_shared_once_and_brought_whole(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = s3.bucket("folders")
    made = checkpoint(tmp_path / "made")
    share(here(f"s3://{bucket}/store/abc"), made)
    assert s3.keys(bucket) == {"store/abc/card.json": 2, "store/abc/model.safetensors": 100_000}
    before = s3.client().head_object(Bucket=bucket, Key="store/abc/card.json")["LastModified"]
    share(here(f"s3://{bucket}/store/abc"), made)
    assert s3.client().head_object(Bucket=bucket, Key="store/abc/card.json")["LastModified"] == before
    another_host(patch, tmp_path / "two")
    copy = here(f"s3://{bucket}/store/abc")
    assert bring(copy) == copy and contents(copy) == contents(made)
    assert [path.name for path in copy.parent.iterdir()] == ["abc"]
    # the copy is enough from here on, and no key was said on the way
    use(patch, AWS_ENDPOINT_URL=NOWHERE)
    assert contents(bring(copy)) == contents(made) and s3.secret not in caplog.text


def test_half_a_folder_is_none_and_one_name_does_not_begin_another(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("halves")
    s3.client().put_object(Bucket=bucket, Key="store/abc/model.safetensors", Body=b"half")
    s3.client().put_object(Bucket=bucket, Key="store/abcd/card.json", Body=b"{}")
    assert not bring(here(f"s3://{bucket}/store/abc")).exists()
    share(here(f"s3://{bucket}/store/abc"), checkpoint(tmp_path / "made"))
    assert s3.keys(bucket)["store/abc/model.safetensors"] == 100_000, "what was cut off is sent again"


def test_a_folder_is_whole_when_its_card_is_there_whatever_else_is_json(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    """As `recipe.json` of the released model."""
    bucket = s3.bucket("cards")
    made = checkpoint(tmp_path / "made")
    (made / "recipe.json").write_text('{"steps": 1}')
    sent: list[str] = []
    upload = buckets._client().upload_file

    def watch(file: str, *place: str) -> None:
        sent.append(place[-1])
        upload(file, *place)

    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(buckets._client(), "upload_file", watch)
        share(here(f"s3://{bucket}/abc"), made)
    assert sent[-1] == "abc/card.json" and len(sent) == 3
    s3.client().delete_object(Bucket=bucket, Key="abc/card.json")
    another_host(patch, tmp_path / "two")
    assert not bring(here(f"s3://{bucket}/abc")).exists()


def test_what_people_put_in_the_place_of_a_copy_is_not_overwritten(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("replaced")
    s3.client().upload_file(str(write_stamps(tmp_path, 6)), bucket, "sky.h5")
    copy = fetched(Path(f"s3://{bucket}/sky.h5"))
    s3.client().put_object(Bucket=bucket, Key="sky.h5", Body=b"other stamps")
    with pytest.raises(BucketError, match=f"s3://{bucket}/sky.h5 is another file than the copy") as caught:
        share(copy, theirs=True)
    assert "another name" in caught.value.hint
    assert s3.client().get_object(Bucket=bucket, Key="sky.h5")["Body"].read() == b"other stamps"


def test_a_server_that_fails_half_way_leaves_nothing_behind(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("broken")
    made = checkpoint(tmp_path / "made", 2_000_000)
    share(here(f"s3://{bucket}/abc"), made)
    another_host(patch, tmp_path / "two")
    copy = here(f"s3://{bucket}/abc")
    with line_to(s3, 1_000_000) as (line, environment):
        use(patch, **environment)
        assert f"bucket {bucket!r} does not answer" in refused(copy).message
        assert line.is_cut and not copy.exists()
        line.mend()
        assert contents(bring(copy)) == contents(made)
    assert [path.name for path in copy.parent.iterdir()] == ["abc"]


def test_what_the_bucket_does_not_take_is_not_kept_here_either(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept, made = here("s3://team/store/encoders/0123456789ab"), checkpoint(tmp_path / "made")
    use(patch, AWS_ENDPOINT_URL=NOWHERE)
    with pytest.raises(BucketError, match="does not answer"):
        keep_checkpoint(made, kept)
    # so nothing can name it, and the next try sends it again
    assert not kept.exists() and not kept.with_name(f"{kept.name}.part").exists()


def test_a_file_that_somebody_names(patch: pytest.MonkeyPatch, s3: S3Server) -> None:
    bucket = s3.bucket("files")
    s3.client().put_object(Bucket=bucket, Key="sky.h5", Body=b"stamps")
    assert fetched(Path(f"s3://{bucket}/sky.h5")).read_bytes() == b"stamps"
    with pytest.raises(BucketError, match=f"There is no s3://{bucket}/sea.h5"):
        fetched(Path(f"s3://{bucket}/sea.h5"))


def test_vectors_beside_a_set_in_a_bucket_are_fetched_too(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("vectors")
    np.save(tmp_path / "spectrum.npy", np.eye(6))
    for path in (write_stamps(tmp_path, 6), tmp_path / "spectrum.npy"):
        s3.client().upload_file(str(path), bucket, f"survey/{path.name}")
    with StampSet(fetched(Path(f"s3://{bucket}/survey/sky.h5"))) as stamps:
        assert stamps.path.parent != tmp_path
        with pytest.raises(ColumnError, match=r"no spectrum\.npy"):
            read_column(with_vectors(stamps, ("ra",)), "spectrum.npy")
        assert read_column(with_vectors(stamps, ("ra", "spectrum.npy")), "spectrum.npy").shape == (6, 6)
        assert not with_vectors(stamps, ("nowhere.npy",)).path.with_name("nowhere.npy").exists()


def test_what_does_not_let_us_in_is_said_in_a_line_without_keys(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("closed")
    copy, made = here(f"s3://{bucket}/abc"), checkpoint(tmp_path / "made")
    assert refused(here("s3://away/abc")).message == "There is no bucket 'away'."
    with pytest.raises(BucketError, match="There is no bucket 'away'"):
        share(here("s3://away/abc"), made)
    use(patch, AWS_SECRET_ACCESS_KEY="wrong-secret")
    found = refused(copy)
    assert found.message == f"Bucket {bucket!r} does not let us in (SignatureDoesNotMatch)."
    assert "wrong-secret" not in "".join(traceback.format_exception(found))
    with pytest.raises(BucketError, match="does not let us in"):
        share(copy, made)
    use(patch, AWS_ACCESS_KEY_ID="nobody")
    assert "InvalidAccessKeyId" in refused(copy).message
    use(patch, AWS_ENDPOINT_URL=NOWHERE)
    assert "does not answer" in refused(copy).message and "AWS_ENDPOINT_URL" in refused(copy).hint
    use(patch, AWS_ENDPOINT_URL="s3.example.org")
    assert refused(copy).message == "AWS_ENDPOINT_URL is no address."
    use(patch, AWS_ENDPOINT_URL=NOWHERE, AWS_PROFILE="nobody")
    assert "ProfileNotFound" in refused(copy).message
    patch.delenv("AWS_PROFILE")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    use(patch)
    assert refused(copy).message == f"There are no keys for bucket {bucket!r}."


def test_the_doctor_asks_the_bucket_of_the_store(patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket("doctor")
    settings = Settings(store=Path(f"s3://{bucket}/store"))
    assert settings.store_folder == tmp_path / f"one/s3:/{bucket}/store"
    (fine,) = host.store(settings)
    assert fine.state == "ok" and fine.text.startswith(f"s3://{bucket}/store, with copies in")
    (away,) = host.store(Settings(store=Path("s3://away/store")))
    assert (away.state, away.text) == ("fail", "There is no bucket 'away'.")


def test_a_backup_is_not_loaded_into_a_bucket(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="GALAXYLOOP_STORE is a bucket"):
        Target(Settings(home=tmp_path / "home", store=Path("s3://team/store"))).check()


@pytest.mark.parametrize("address", ["s3://", "gs://team/store", "https://example.org/store"])
def test_other_addresses_are_no_stores(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GALAXYLOOP_STORE", address)
    with pytest.raises(SettingsError, match=r"GALAXYLOOP_STORE: .*s3://bucket/prefix"):
        Settings()


def test_a_set_in_a_bucket_is_embedded_into_a_store_in_a_bucket(
    patch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("embedded")
    s3.client().upload_file(str(write_stamps(tmp_path, 6)), bucket, "survey/sky.h5")
    encoder = write_tiny(tmp_path / "encoder", Rendering(size=32, field=9.0))
    use(patch, GALAXYLOOP_STORE=f"s3://{bucket}/store")
    command = ["embed", f"s3://{bucket}/survey/sky.h5", "--encoder", str(encoder), "--views", "1"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    kept = Path(json.loads(done.stdout)["features"])
    assert kept.is_relative_to(tmp_path / f"one/s3:/{bucket}/store/features") and Features.open(kept).origin.rows == 6
    names = {key.rpartition("/")[2] for key in s3.keys(bucket) if key.startswith("store/features/")}
    assert names == {kept.name, kept.with_suffix(".json").name}
    refused = CliRunner().invoke(app, [*command, "--jobs"])
    assert refused.exit_code == 1 and "Leave out --jobs" in refused.stderr
