"""What cameras and servers of films send, damaged: a conversation by RTSP, and films and playlists by HTTP."""

import random
import re
import socket
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from querypose_jax.errors import UserError
from querypose_jax.inference.video import open_video
from scripts.fuzzing.damage import damaged
from scripts.fuzzing.server import Server
from tests.inference.films import write_at, write_stream

FRAMES = 3  # of the film that is sent
PACKET = 7 * 188  # bytes of a transport stream in a packet of RTP
SDP = ("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=rtpmap:33 MP2T/90000\r\n"
       "a=control:track1\r\n")  # fmt: skip
ANSWERS = {
    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}",
    "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    "PLAY": "Session: 1\r\nRange: npt=0.000-\r\n\r\n",
}
STATUSES = (
    "200 OK", "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"\x1b[2J\"",
    "302 Found\r\nLocation: rtsp://127.0.0.1:1/", "302 Found\r\nLocation: file:///etc/hostname", "404 x", "454 x",
    "500 " + "x" * 3000, "-1", "",
)  # fmt: skip
LIES = (
    "Content-Length: -1", "Content-Length: 100000000", "Session: " + "x" * 5000, "Session: 1;timeout=-1",
    "Transport: RTP/AVP;unicast;client_port=1-2;server_port=3-4", "Transport: RTP/AVP/TCP;interleaved=255-0",
    "Content-Base: file:///etc/", "RTP-Info: url=x;seq=-1;rtptime=99999999999", "Server: \x1b[2J", "Range: npt=99-0",
)  # fmt: skip
LINES = (
    "m=video 0 RTP/AVP 96", "m=audio 0 RTP/AVP 0", "a=rtpmap:96 H264/90000", "a=rtpmap:96 JPEG/0",
    "a=rtpmap:33 MP2T/-1", "a=fmtp:96 sprop-parameter-sets=Z0IACpZTBYmI,aMljiA==", "a=fmtp:96 x=" + "y" * 5000,
    "a=control:file:///etc/hostname", "a=control:*", "a=range:npt=9-0", "a=framesize:96 99999-99999",
    "c=IN IP4 999.1.1.1", "m=", "a=",
)  # fmt: skip
PLAYLISTS = (
    "#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n", "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"data:x,y\"\n#EXTINF:-1,\na.ts\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-MAP:URI=\"concat:/etc/hostname|/etc/passwd\"\n#EXTINF:1e99,\na.ts\n#EXT-X-ENDLIST\n",
)  # fmt: skip


class Sent(NamedTuple):
    """A source, and what it sends."""

    path: str
    """With its scheme: rtsp:/x or http:/a.ts."""
    answers: dict[str, bytes]
    """RTSP: by method, after the line with the sequence number. HTTP: by path."""
    film: bytes
    """RTSP: packets that follow the answer to PLAY."""


@cache
def films() -> dict[str, bytes]:
    """Small ones, by suffix."""
    with tempfile.TemporaryDirectory() as folder:
        stream = write_stream(Path(folder) / "a.ts", FRAMES, (64, 48)).read_bytes()
        return {"ts": stream, "avi": write_at(Path(folder) / "a.avi", [0, 0.04, 0.08], (64, 48)).read_bytes()}


def packets(film: bytes, rng: random.Random) -> bytes:
    """The film in packets of RTP between the answers, in order; some lie."""
    sent = b""
    for number, at in enumerate(range(0, len(film), PACKET)):
        part = film[at : at + PACKET]
        head = struct.pack(">BBHII", 0x80, 33, number, number * 3600, 1)
        if rng.random() < 0.05:
            head = damaged(head, rng)
        length = rng.choice((0, 1, 0xFFFF)) if rng.random() < 0.02 else len(head + part)
        sent += struct.pack(">cBH", b"$", rng.choice((0, 0, 0, 1, 255)), length) + head + part
    return sent


def by_rtsp(rng: random.Random) -> Sent:
    """A conversation with one or two lies in it."""
    film, kind = films()["ts"], rng.randrange(6)
    if kind == 0:
        film = damaged(film, rng)
    texts, statuses = dict(ANSWERS), dict.fromkeys(ANSWERS, "200 OK")
    method = rng.choice(sorted(ANSWERS))
    if kind == 1:
        statuses[method] = rng.choice(STATUSES)
    if kind == 2:
        texts[method] = f"{rng.choice(LIES)}\r\n{texts[method]}"
    if kind == 3:
        lines = SDP.splitlines()
        for _ in range(rng.randint(1, 3)):
            lines[rng.randrange(len(lines))] = rng.choice(LINES)
        sdp = "\r\n".join(lines) + "\r\n"
        texts["DESCRIBE"] = (
            texts["DESCRIBE"].partition("Content-Length")[0] + f"Content-Length: {len(sdp)}\r\n\r\n{sdp}"
        )
    answers = {name: f"RTSP/1.0 {statuses[name]}\r\nCSeq: %CSEQ%\r\n{text}".encode() for name, text in texts.items()}
    if kind == 4:
        answers[method] = damaged(answers[method], rng)
    sent = packets(film, rng)
    return Sent("rtsp:/x", answers, damaged(sent, rng) if kind == 5 else sent)


def by_http(rng: random.Random) -> Sent:
    """A film, pictures of a camera one after the other, or a playlist."""
    suffix = rng.choice(("ts", "avi", "m3u8"))
    film = films().get(suffix) or rng.choice(PLAYLISTS).encode()
    if rng.random() < 0.9:
        film = damaged(film, rng)
    length = rng.choice((len(film), len(film), len(film), 0, -1, 10**12))
    kind = rng.choice(("video/mp2t", "application/x-mpegurl", "multipart/x-mixed-replace; boundary=x", "\x1b[2J"))
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n\r\n".encode()
    whole = {f"/a.{name}": head.replace(str(length).encode(), str(len(f)).encode()) + f for name, f in films().items()}
    return Sent(f"http:/a.{suffix}", whole | {f"/a.{suffix}": head + film}, b"")


def sources(rng: random.Random) -> Sent:
    return rng.choice((by_rtsp, by_rtsp, by_http))(rng)


class Camera(Server):
    """Answers as `sent` says; the film ends a connection."""

    timeout_s = 2
    sent = Sent("", {}, b"")

    def talk(self, connection: socket.socket) -> None:
        while asked := connection.recv(65536).decode("latin-1"):
            name, target = [*asked.split(" ", 2), "", ""][:2]
            if name == "GET":
                return connection.sendall(self.sent.answers.get(target, b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"))
            number = re.search(r"CSeq: (\d+)", asked)
            answer = self.sent.answers.get(name, b"RTSP/1.0 501 x\r\nCSeq: %CSEQ%\r\n\r\n")
            connection.sendall(answer.replace(b"%CSEQ%", number[1].encode() if number else b"0"))
            if name == "PLAY":
                return connection.sendall(self.sent.film)


@cache
def camera() -> Camera:
    """The one of this process."""
    return Camera()


def use_source(sent: Sent, folder: Path, rng: random.Random) -> None:
    """Opens it and reads its frames, as prediction does."""
    camera().sent = sent
    scheme, _, place = sent.path.partition(":")
    with open_video(f"{scheme}://{camera().host}{place}") as video:
        frames = 0
        for frame in video.frames:
            assert frame.picture.mode == "RGB"
            frames += 1
        if not frames:
            raise UserError("no frame")
