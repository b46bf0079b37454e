"""The servers under supervisord: how they are started, looked at and ended.

supervisord and its clients run in the stack's folder and name its socket by way of /proc/self/cwd: the path of a Unix
socket has 107 bytes at most, which a deep folder exceeds, and supervisord makes every relative path absolute.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from servers import Server

MARK = "IMAGE_LABELS_STACK"
"""The variable by which a process is known to belong to a stack: its value is the stack's folder."""

_DEPENDANTS = "dependants"

_CONFIGURATION = """\
[unix_http_server]
file=/proc/self/cwd/supervisor.sock
chmod=0700

[supervisord]
logfile=logs/supervisord.log
pidfile=supervisord.pid
childlogdir=logs
umask=077

[supervisorctl]
serverurl=unix:///proc/self/cwd/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# The digest changes with the script, which makes `supervisorctl update` start the program anew.
_PROGRAM = """
[program:{name}]
command=/bin/sh programs/{name}
environment=SCRIPT_DIGEST="{digest}"
autostart={autostart}
stopwaitsecs={stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""

_GROUP = """
[group:{name}]
programs={programs}
"""

# What someone has set for another AWS account, another Airflow or another Python must not reach the servers.
_FOREIGN = ("AWS_", "AIRFLOW", "_AIRFLOW", "PYTHONPATH", "PYTHONHOME", "REKOGNITION_", "S3_", "WEED_", "MAKE", "MFLAGS")
_OWN = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    # Airflow's processes rename themselves; without this, setproctitle writes over the mark.
    "SPT_NOENV": "1",
}


class SupervisionError(Exception):
    """supervisord did not do what it was asked."""


class Supervision:
    """supervisord and what it runs, in one folder.

    :param root: the stack's folder, absolute
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, servers: Sequence[Server], dependants: Sequence[Server] = ()) -> None:
        """Make these the servers that run: start what is new, restart what has changed, end what is gone.

        :param servers: started at once
        :param dependants: started by :meth:`start_dependants`, all of them restarted when one has changed, and the
            first to end
        :raises SupervisionError: supervisord does not start
        """
        programs = self.root / "programs"
        programs.mkdir(exist_ok=True)
        (self.root / "logs").mkdir(exist_ok=True)
        sections = [_CONFIGURATION]
        for server in [*servers, *dependants]:
            script = server.script()
            write_private(programs / server.name, script)
            sections.append(
                _PROGRAM.format(
                    name=server.name,
                    digest=hashlib.sha256(script.encode()).hexdigest()[:16],
                    autostart=str(server in servers).lower(),
                    stop_seconds=server.stop_seconds,
                )
            )
        if dependants:
            names = ",".join(server.name for server in dependants)
            sections.append(_GROUP.format(name=_DEPENDANTS, programs=names))
        write_private(self.root / "supervisord.conf", "".join(sections))
        if self.alive():
            self._control("update")
            return
        self.sweep()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
        started = subprocess.run(
            command, cwd=self.root, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if started.returncode:
            raise SupervisionError(f"supervisord does not start: {started.stdout}{started.stderr}")

    def environment(self) -> dict[str, str]:
        """Return the environment of every process of the stack."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return own | _OWN | {MARK: str(self.root)}

    def start_dependants(self) -> None:
        """Start those of the dependants that do not run."""
        self._control("start", f"{_DEPENDANTS}:*")

    def stop_dependant(self, name: str) -> None:
        """End one of the dependants, until they are started again."""
        self._control("stop", f"{_DEPENDANTS}:{name}")

    def alive(self) -> bool:
        """Tell whether supervisord answers."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        if not (self.root / "supervisor.sock").exists():
            return None
        answer = self._control("pid")
        return int(answer.stdout) if answer.returncode == 0 else None

    def states(self) -> dict[str, str]:
        """Return supervisord's word on each program, such as RUNNING or FATAL; nothing if it does not run itself."""
        if not (self.root / "supervisor.sock").exists():
            return {}
        answer = self._control("status")
        # 3 is its way to say that some programs do not run.
        if answer.returncode not in (0, 3):
            return {}
        lines = (line.split() for line in answer.stdout.splitlines())
        return {words[0].removeprefix(f"{_DEPENDANTS}:"): words[1] for words in lines}

    def pid_of_dependant(self, name: str) -> int:
        """Return the process id of a dependant that runs."""
        return int(self._control("pid", f"{_DEPENDANTS}:{name}").stdout)

    def stop(self, timeout: float = 10) -> int:
        """End supervisord, its programs and whatever they left behind.

        :param timeout: seconds that supervisord may take when its programs have ended; what others left behind, such
            as the tasks of a scheduler that was killed, is not waited for
        :return: number of processes that were ended
        """
        before = self.processes()
        if pid := self._pid():
            # The dependants first; then all that is left at the same time, where "shutdown" takes one after the other.
            for command in (["stop", f"{_DEPENDANTS}:*"], ["stop", "all"], ["shutdown"]):
                self._control(*command)
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(pid).wait(timeout)
        self.sweep()
        return len(before)

    def sweep(self) -> None:
        """End the stack's processes that nobody watches over any more, and only those."""
        left = self.processes()
        for process in left:
            _signal(process, process.terminate)
        _, stubborn = psutil.wait_procs(left, timeout=5)
        for process in stubborn:
            _signal(process, process.kill)
        psutil.wait_procs(stubborn, timeout=5)

    def processes(self) -> list[psutil.Process]:
        """Return the processes of this stack, by the mark in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                # Someone else's, or gone by now.
                continue
        return found

    def listening(self) -> set[int]:
        """Return the TCP ports that processes of the stack listen on."""
        ports = set()
        for process in self.processes():
            try:
                ports |= {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
            except psutil.Error:
                continue
        return ports

    def log(self, name: str) -> Path:
        """Return the path of a program's log."""
        return self.root / "logs" / f"{name}.log"

    def last_words(self, name: str, lines: int = 15) -> str:
        """Return the end of a program's log."""
        log = self.log(name)
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(no log)"

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "supervisord.conf", *arguments]
        return subprocess.run(command, cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


def _signal(process: psutil.Process, send: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        send()
