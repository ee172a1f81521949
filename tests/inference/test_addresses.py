"""Pictures and streams by their addresses, from a server of this test's own: nothing outside is asked."""

import io
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference import addresses
from querypose_jax.inference.addresses import fetch, is_address, is_stream, last_part, without_password
from querypose_jax.inference.playlists import inner_playlists
from querypose_jax.inference.predict_input import fetched, predict_input
from querypose_jax.inference.sources import as_sources, is_many, open_picture
from querypose_jax.inference.video import SUFFIXES, VideoError, is_video, open_video
from querypose_jax.pictures import PictureError


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(file, "JPEG")
    return file.getvalue()


BOUNDARY = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
ANSWERS = {
    "/a.jpg": ("image/jpeg", jpeg()),
    "/picture": ("image/jpeg", jpeg()),
    "/locked.jpg": ("image/jpeg", jpeg()),
    "/camera": ("multipart/x-mixed-replace; boundary=x", 5 * (BOUNDARY % len(jpeg()) + jpeg() + b"\r\n") + b"--x--"),
    "/sly.m3u8": ("application/x-mpegurl", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"),
}
MOVED = {"/moved.jpg": "file:///etc/hostname", "/to.jpg": "/a.jpg"}
PASSWORD = "Basic bWU6c2U6Y3JldA=="  # me:se:cret


class Server(BaseHTTPRequestHandler):
    """Answers from the tables above."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path in MOVED:
            self.send_response(302)
            self.send_header("Location", MOVED[path])
            self.end_headers()
        elif path == "/locked.jpg" and self.headers["Authorization"] != PASSWORD:
            self.send_error(401)
        elif path in ANSWERS:
            kind, content = ANSWERS[path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if path != "/camera":  # which has no end
                self.send_header("Content-Length", str(0 if "said=0" in self.path else len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            self.send_error(404)

    def log_message(self, *told):
        pass


@pytest.fixture(scope="module")
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_picture_is_opened_by_its_address(host, tmp_path):
    for place in ("/a.jpg", "/a.jpg?size=3", "/to.jpg", "/picture"):
        name, picture = open_picture(host + place)
        assert name == host + place and picture.size == (40, 30)
        assert not is_video(host + place) and not is_many(host + place)
        assert list(as_sources(host + place)) == [host + place]
    assert np.asarray(picture)[0, 0, 0] > 150
    assert fetched(f"{host}/a.jpg?x=/../../b", tmp_path / "out") == tmp_path / "out" / "a.jpg"
    assert (tmp_path / "out" / "a.jpg").read_bytes() == jpeg()


def test_what_cannot_be_fetched_is_one_line_without_the_password(host):
    secret = host.replace("http://", "http://me:secret@")
    with pytest.raises(PictureError, match=r"^http://127.0.0.1:\d+/b.jpg: cannot be fetched \(404 Not Found\)$"):
        fetch(f"{secret}/b.jpg")
    with pytest.raises(PictureError, match=r"locked.jpg: cannot be fetched \(401 Unauthorized\)$"):
        fetch(f"{host}/locked.jpg")
    assert fetch(host.replace("http://", "http://me:se%3Acret@") + "/locked.jpg") == jpeg()
    with pytest.raises(PictureError, match=r"moved.jpg: cannot be fetched"):
        fetch(f"{host}/moved.jpg")  # to a file of this machine: not followed
    with pytest.raises(PictureError, match=r"^http://127.0.0.1:1/a.jpg: cannot be fetched \("):
        fetch("http://127.0.0.1:1/a.jpg")


class Says(threading.Thread):
    """Sends the same bytes to whoever connects."""

    def __init__(self, content: bytes):
        super().__init__(daemon=True)
        self.content, self.socket = content, socket.create_server(("127.0.0.1", 0))
        self.start()

    def run(self):
        connection, _ = self.socket.accept()
        with connection, self.socket:
            connection.recv(2**16)
            connection.sendall(self.content)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x1b[2J\r\n\r\n", r"cannot be fetched \(\?\[2J\)$"),
        (b"HTTP/1.1 404 Not\x1b[2J " + b"x" * 5000 + b"\r\n\r\n", r"cannot be fetched \(404 Not\?\[2J x+\.\.\.\)$"),
        (b"HTTP/1.1 302 x\r\nLocation: http://[\r\n\r\n", r"cannot be fetched \(Invalid IPv6 URL\)$"),
        (b"HTTP/1.1 302 x\r\nLocation: /b\r\nContent-Length: 9000000000000\r\n\r\n", r"cannot be fetched \("),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", r"broke off \(97 bytes are missing\)$"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc", r"broke off \(IncompleteRead"),
    ],
)
def test_an_answer_that_is_none_is_one_line(answer, said):
    """Control characters, long lines, wrong addresses, and what ends before it is whole."""
    with pytest.raises(PictureError, match=said) as caught:
        fetch(f"http://127.0.0.1:{Says(answer).socket.getsockname()[1]}/a.jpg")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "address", ["http://[/a.jpg", "http://127.0.0.1:99999999/a.jpg", "http://a\x1b[2J/a.jpg", "rtsp://["]
)
def test_an_address_that_is_none_is_one_line(address):
    with pytest.raises(PictureError) as caught:
        open_picture(address) if not is_stream(address, SUFFIXES) else open_video(address).__enter__()
    assert str(caught.value).isprintable() and ("is no address" in str(caught.value) or "port" in str(caught.value))


def test_a_download_ends_in_time(host, monkeypatch):
    monkeypatch.setattr(addresses, "LONGEST_S", -1.0)
    with pytest.raises(PictureError, match="a.jpg: takes more than -1 s; fetch it yourself"):
        fetch(f"{host}/a.jpg")


def test_a_download_has_a_limit(host, monkeypatch):
    monkeypatch.setattr(addresses, "LARGEST_DOWNLOAD", 100)
    with pytest.raises(PictureError, match="has more than 0 MiB; fetch it yourself"):
        fetch(f"{host}/a.jpg")


def test_streams_are_told_from_pictures(host):
    for stream in ("rtsp://camera/1", "RTSP://camera", "udp://0.0.0.0:1", f"{host}/film.mp4?x=1", f"{host}/live.m3u8"):
        assert is_stream(stream, SUFFIXES) and is_video(stream)
    assert is_stream(f"{host}/camera", SUFFIXES) and not is_stream(f"{host}/picture", SUFFIXES)
    for other in ("film.mp4", "file:///etc/passwd", "ftp://host/a.jpg", "0", 0, "c:\\a.jpg", "rtsp"):
        assert not is_address(other)


def test_names_come_from_the_address():
    assert without_password("rtsp://me:secret@camera:554/live?x=1") == "rtsp://camera:554/live?x=1"
    assert last_part("rtsp://camera/live/") == "live" and last_part("http://camera:80/..") == "camera"


def test_a_film_and_a_camera_by_http_are_predicted_frame_by_frame(host, predictor, tmp_path, monkeypatch, capfd):
    pytest.importorskip("av")
    from tests.inference.films import lines_of, write_stream

    film = ("video/mp2t", write_stream(tmp_path / "film.ts", 6).read_bytes())
    monkeypatch.setitem(ANSWERS, "/film.ts", film)
    for place, name, count in (("/film.ts?token=1", "film", 6), ("/camera", "camera", 5)):
        said = predict_input(predictor, host + place, str(tmp_path / "out"), threshold=0)
        assert said == f"{count} frames of the stream are in {tmp_path / 'out'}"
        assert len(lines_of(tmp_path / "out" / f"{name}.jsonl")) == count
    assert "camera: the stream broke off after 5 frames" in capfd.readouterr().out
    with pytest.raises(VideoError, match="cannot be decoded after 5 frames"):
        list(predictor(f"{host}/camera"))
    assert predictor(f"{host}/a.jpg").name == f"{host}/a.jpg"


def test_a_playlist_cannot_name_files_of_this_machine(host):
    pytest.importorskip("av")
    with pytest.raises(VideoError), open_video(f"{host}/sly.m3u8") as video:
        list(video.frames)


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (
            "#EXT-X-STREAM-INF:BANDWIDTH=1\n\n# a line in between\nouter.m3u8",
            "names playlists that name playlists again",
        ),
        ('#EXT-X-MEDIA:TYPE=AUDIO,URI="/outer.m3u8"', "names playlists that name playlists again"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\nouter.m3u8?said=0", "names playlists that name playlists again"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n" * 200, "names more than 100 playlists"),
    ],
)
def test_playlists_without_end_are_refused_before_they_are_followed(host, monkeypatch, inner, said):
    pytest.importorskip("av")
    for name in ("outer", "inner"):
        playlist = f"#EXTM3U\n{inner.replace('outer', 'inner' if name == 'outer' else 'outer')}\n#EXT-X-ENDLIST\n"
        monkeypatch.setitem(ANSWERS, f"/{name}.m3u8", ("application/x-mpegurl", playlist.encode()))
    refused = pytest.raises(PictureError, match=f"^http://127.0.0.1:.*/outer.m3u8: {said}")
    with refused, open_video(f"{host}/outer.m3u8"):
        pass


@pytest.mark.parametrize("kind", ["films", "playlists", "by another address"])
def test_playlists_of_films_are_followed(host, tmp_path, monkeypatch, kind):
    pytest.importorskip("av")
    from tests.inference.films import write_stream

    def answer(name: str, content: str | bytes, kind: str = "application/x-mpegurl"):
        monkeypatch.setitem(ANSWERS, name, (kind, content.encode() if isinstance(content, str) else content))

    answer("/deep/film.ts", write_stream(tmp_path / "film.ts", 6).read_bytes(), "video/mp2t")
    answer("/deep/films.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.ts\n#EXT-X-ENDLIST\n")
    lists = "#EXT-X-STREAM-INF:BANDWIDTH=9\ndeep/films.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/hostname\n"
    answer("/lists.m3u8", f"#EXTM3U\n{lists}")
    monkeypatch.setitem(MOVED, "/here/moved.m3u8", "/lists.m3u8")
    place = {"films": "/deep/films.m3u8", "playlists": "/lists.m3u8", "by another address": "/here/moved.m3u8"}[kind]
    assert [p.rpartition("/")[2] for p in inner_playlists(host + place)] == ["films.m3u8"] * (kind != "films")
    with open_video(host + place) as video:
        assert len(list(video.frames)) == 6


def test_a_stream_that_does_not_answer_is_one_line(host):
    pytest.importorskip("av")
    with (
        pytest.raises(VideoError, match=r"^http://127.0.0.1:\d+/no.mp4: cannot be opened as a video"),
        open_video(host.replace("http://", "http://me:secret@") + "/no.mp4"),
    ):
        pass
