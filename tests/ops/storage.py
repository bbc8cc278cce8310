"""Other places for what the servers keep: an S3 server, and a PostgreSQL server of Debian's package."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError

from tests.ops.platform import free_port, until

AWS = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1"}
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root


@contextmanager
def s3_server(log: Path, bucket: str) -> Iterator[str]:
    """Serve S3 with one bucket during the block, and yield its address; the variables of AWS must be set."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    with log.open("w") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until(lambda: _made_bucket(boto3.client("s3", endpoint_url=address), bucket))
        yield address
    finally:
        server.terminate()
        server.wait()


def _made_bucket(client, bucket: str) -> bool:
    try:
        client.create_bucket(Bucket=bucket)
    except BotoCoreError:
        return False
    return True


def postgresql_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps out of the path; None without the package."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextmanager
def postgresql_server(programs: Path, database: str) -> Iterator[str]:
    """Run PostgreSQL during the block, and yield the address of an empty database."""
    port, user = free_port(), UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory() as folder:  # pytest's folders are closed to other users
        shutil.chown(folder, user)
        data = f"{folder}/data"

        def run(program: str, *arguments: str) -> None:
            command = [programs / program, *arguments]
            done = subprocess.run(
                command, cwd=folder, user=user if os.geteuid() == 0 else None, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "--pgdata", data, "--username", "iedit", "--auth", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        run("pg_ctl", "--pgdata", data, "--log", f"{folder}/log", "--options", options, "--timeout", "600", "start")
        try:
            run("createdb", "--host", "127.0.0.1", "--port", str(port), "--username", "iedit", database)
            yield f"postgresql://iedit@127.0.0.1:{port}/{database}"
        finally:
            run("pg_ctl", "--pgdata", data, "--mode", "immediate", "stop")
