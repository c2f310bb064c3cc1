"""A real SLURM of one node on the loopback interface: munged, slurmctld, slurmd, and two GPUs that are none.

The node claims GPUs of type gh200 whose device files are /dev/null and /dev/zero, so that --gpus=gh200:1 is
scheduled as on a real one. With `accounting`, a MariaDB and slurmdbd of its own serve sacct. It needs root and
Debian's slurm-wlm and munge (slurmdbd and mariadb-server for accounting), and uses /etc/slurm, because job steps
find their configuration there alone.
"""

import os
import pwd
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

ETC = Path("/etc/slurm")
MARK = "# written by selfdraft's tests"
PARTITION = "gh"
GPUS = ("/dev/null", "/dev/zero")


def missing(accounting=False):
    """Why such a SLURM cannot be started here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    programs = ["munged", "slurmctld", "slurmd", "sbatch", "srun"] + ["slurmdbd", "mariadbd"] * accounting
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            return f"{program} is not installed"
    for name in ("slurm.conf", "slurmdbd.conf", "gres.conf"):
        if (ETC / name).exists() and MARK not in (ETC / name).read_text():
            return f"{ETC / name} belongs to a SLURM of this machine"
    return None


class OneNode:
    """Start it, run, stop it; `folder` keeps state and logs."""

    def __init__(self, folder, accounting=False):
        self.folder, self.accounting = Path(folder), accounting
        self.status = "sacct" if accounting else "squeue"  # the command that tells how jobs ended
        self.processes = []
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.memory_mb = min(16000, int(0.9 * pages / 2**20))
        self.node = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()

    def start(self):
        for name in ("state", "spool", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.configure()
        munge = pwd.getpwnam("munge")
        for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(place).mkdir(parents=True, exist_ok=True)
            os.chown(place, munge.pw_uid, munge.pw_gid)
        Path("/run/munge").chmod(0o755)
        if subprocess.run(["pgrep", "-x", "munged"], capture_output=True).returncode:
            self.run_on("munged", "--foreground", user="munge")
        if self.accounting:
            self.start_accounting()
        self.run_on("slurmctld", "-D", "-c", "-i")
        self.run_on("slurmd", "-D")
        self.wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "the node did not become idle")
        if self.accounting:
            self.wait(lambda: self.ask("sacctmgr", "-n", "list", "cluster") != "", "no cluster is registered")

    def configure(self):
        ETC.mkdir(exist_ok=True)
        cores = os.cpu_count()
        lines = {
            "ClusterName": "onenode",
            "SlurmctldHost": "localhost(127.0.0.1)",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "CredType": "cred/munge",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmctldPort": 16827,
            "SlurmdPort": 16828,
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "GresTypes": "gpu",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "MinJobAge": 7200,
            "KillWait": 5,
            "InactiveLimit": 0,
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=2",  # by itself a job waits 3 s for others
            "JobAcctGatherType": "jobacct_gather/linux" if self.accounting else "jobacct_gather/none",
            "AccountingStorageType": f"accounting_storage/{'slurmdbd' if self.accounting else 'none'}",
        }
        if self.accounting:
            lines |= {"AccountingStorageHost": "127.0.0.1", "AccountingStoragePort": 16829}
            lines |= {"AccountingStorageTRES": "gres/gpu,gres/gpu:gh200"}
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        text += (
            f"NodeName={self.node} NodeHostname={self.node} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1"
            f" CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={self.memory_mb}"
            f" Gres=gpu:gh200:{len(GPUS)} State=UNKNOWN\n"
            f"PartitionName={PARTITION} Nodes={self.node} Default=YES MaxTime=INFINITE State=UP\n"
        )
        (ETC / "slurm.conf").write_text(f"{MARK}\n{text}")
        files = "".join(f"NodeName={self.node} Name=gpu Type=gh200 File={file}\n" for file in GPUS)
        (ETC / "gres.conf").write_text(f"{MARK}\nAutoDetect=off\n{files}")

    def start_accounting(self):
        data, socket = self.folder / "database", self.folder / "database.sock"
        user = "mysql"
        for place in (self.folder, *self.folder.parents):
            if place.stat().st_uid == 0 and place != Path("/"):
                place.chmod(place.stat().st_mode | 0o011)  # the database's own user must get to its files
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        account = pwd.getpwnam(user)
        os.chown(data, account.pw_uid, account.pw_gid)
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}"]
        subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
        self.run_on(
            *("mariadbd", "--no-defaults", f"--datadir={data}", f"--user={user}", f"--socket={data}/sock"),
            *("--port=16830", "--bind-address=127.0.0.1", f"--pid-file={data}/pid"),
        )
        client = ["mariadb", "--no-defaults", f"--socket={data}/sock", "--user=root"]
        self.wait(lambda: self.try_asking(*client, "-e", "select 1"), str(socket))
        sql = "create user slurm@localhost; create user slurm@127.0.0.1; create database slurm_acct_db;"
        sql += "grant all on slurm_acct_db.* to slurm@localhost; grant all on slurm_acct_db.* to slurm@127.0.0.1;"
        subprocess.run([*client, "-e", sql], check=True, timeout=60)
        lines = {
            "AuthType": "auth/munge",
            "DbdHost": "localhost",
            "DbdAddr": "127.0.0.1",
            "DbdPort": 16829,
            "SlurmUser": "root",
            "PidFile": self.folder / "slurmdbd.pid",
            "LogFile": self.folder / "logs" / "slurmdbd",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": 16830,
            "StorageUser": "slurm",
            "StorageLoc": "slurm_acct_db",
        }
        conf = ETC / "slurmdbd.conf"
        conf.write_text(f"{MARK}\n" + "".join(f"{name}={value}\n" for name, value in lines.items()))
        conf.chmod(0o600)
        self.run_on("slurmdbd", "-D")
        self.wait(lambda: self.try_asking("sacctmgr", "-n", "list", "tres"), "slurmdbd does not answer")
        add = ("sacctmgr", "-i", "add")
        subprocess.run([*add, "cluster", "onenode"], capture_output=True, timeout=60)
        subprocess.run([*add, "account", "study"], check=True, capture_output=True, timeout=60)
        subprocess.run([*add, "user", "root", "account=study"], check=True, capture_output=True, timeout=60)

    def run_on(self, program, *words, user=None):
        """Start a daemon in the foreground; its output goes to a log."""
        path = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
        with (self.folder / "logs" / f"{program}.out").open("ab") as log:
            process = subprocess.Popen([path, *words], stdout=log, stderr=log, user=user, start_new_session=True)
        self.processes.append((program, process))

    def ask(self, *command):
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    def try_asking(self, *command):
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def wait(self, ready, problem, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                if ready():
                    return
            time.sleep(0.5)
        logs = {path.name: path.read_text(errors="replace")[-1500:] for path in (self.folder / "logs").iterdir()}
        raise RuntimeError(f"{problem}; {logs}")

    def stop(self):
        """End what `start` started, by its process id, and take the configuration away."""
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=60)
        for _, process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in ("slurm.conf", "gres.conf", "slurmdbd.conf"):
            path = ETC / name
            if path.exists() and MARK in path.read_text():
                path.unlink()
