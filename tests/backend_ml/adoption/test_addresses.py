"""Where pictures may be fetched from: Label Studio's own storages, allowed hosts, and nowhere else."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from backend_ml.adoption.addresses import AddressError, find_address, picture_text

LS = "http://ls.example:8080"
ALLOWED = ("images.example", "cdn.example:8443")


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("/data/upload/3/ab12-J01.png", "uploaded", "ab12-J01.png"),
        ("/data/local-files/?d=set/J%2001.fits", "local files", "J 01.fits"),
        ("/storage-data/uploaded/?filepath=upload/3/a.png", "uploaded", "a.png"),
        (f"{LS}/data/upload/3/a.jpg", "uploaded", "a.jpg"),
        ("/tasks/12/resolve/?fileuri=czM6", "cloud storage", ""),
    ],
)
def test_what_label_studio_serves_is_asked_with_the_token(text: str, source: str, name: str) -> None:
    found = find_address(text, LS, (), 12)
    assert (found.ours, found.source, found.name) == (True, source, name)
    assert found.url.startswith(f"{LS}/")


@pytest.mark.parametrize("text", ["s3://bucket/a/J1.png", "gs://b/J1.png", "azure-blob://c/J1.png"])
def test_cloud_storages_are_resolved_by_label_studio(text: str) -> None:
    found = find_address(text, LS, (), 12)
    parts = urlsplit(found.url)
    assert (found.ours, found.name, parts.path) == (True, "J1.png", "/tasks/12/resolve/")
    assert base64.urlsafe_b64decode(parse_qs(parts.query)["fileuri"][0]).decode() == text


@pytest.mark.parametrize(
    "text", ["https://images.example/a/J1.png", "http://IMAGES.example/J1.png?x=1", "https://cdn.example:8443/J1.png"]
)
def test_allowed_hosts_are_asked_without_the_token(text: str) -> None:
    found = find_address(text, LS, ALLOWED, 1)
    assert (found.ours, found.name, found.url) == (False, "J1.png", text)


@pytest.mark.parametrize(
    "text",
    [
        "https://elsewhere.example/J1.png",
        "https://images.example.evil/J1.png",
        "https://images.example@evil.example/J1.png",
        "https://user:word@images.example/J1.png",
        "https://images.example:444/J1.png",
        "http://127.0.0.1:9090/J1.png",
        "http://[::1]/J1.png",
        "http://169.254.169.254/latest/meta-data",
        "http://ls.example/data/upload/1/a.png",
        "https://ls.example:8080/data/upload/1/a.png",
        "file:///etc/passwd",
        "ftp://images.example/a.png",
        "//images.example/a.png",
        "data/upload/1/a.png",
        "/api/current-user/token",
        "/user/logout",
        "/data/upload/../../api/x",
        "/data/upload/%2e%2e/x.png",
        "/data/local-files/?d=../../etc/passwd",
        "/data/local-files/?d=a/%252e%252e/x.png",
        "/data/local-files/?d=..\\x",
        "/tasks/1/resolve/../../api/x",
        "http://admin@ls.example:8080/data/upload/1/a.png",
        "http://[bad/a.png",
        "http://images.example:99999/a.png",
    ],
)
def test_nothing_else_is_asked(text: str) -> None:
    with pytest.raises(AddressError):
        find_address(text, LS, ALLOWED, 1)


@pytest.mark.parametrize("value", [None, 3, "", " ", ["/data/upload/1/a.png"], {"url": "x"}, "a\nb", "x" * 5000])
def test_data_without_an_address(value: object) -> None:
    with pytest.raises(AddressError, match="'photo' is"):
        picture_text({"photo": value}, "photo")
    with pytest.raises(AddressError):
        picture_text({}, "photo")


def test_a_label_studio_under_a_path_of_its_own() -> None:
    for text in ("/data/upload/1/a.png", "/label/data/upload/1/a.png"):
        assert find_address(text, "https://x.example/label", (), 1).url == "https://x.example/label/data/upload/1/a.png"
