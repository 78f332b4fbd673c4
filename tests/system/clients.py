"""Two clients that drive a volume each and know what it may hold afterwards, behind one interface: start a run, end it
by surviving or by the death of what serves it, judge what is there. StampsClient is this folder's stamps.py;
TortureClient is the acceptance suite's nbdtorture, whose journal goes on over crashes."""

from lab import Attachment, MIB
from stamps import Stamps

SIZE = 512 * MIB


class StampsClient:
    """A volume under stamps.py."""

    def __init__(self, lab, region, kind, seed):
        self.lab = lab
        self.name = f"{kind}-stamps"
        region.create(self.name, size=SIZE)
        self.attachment = Attachment(region, self.name)
        self.stamps = Stamps(self.attachment.uri, SIZE, seed)

    def start(self, live_seconds=None):
        self.stamps.start()

    def survived(self):
        """Ends the run that no crash should have touched."""
        ended = self.stamps.stop()
        self.stamps.verify(strict=True)
        return ended and not self.stamps.errors and not self.stamps.violations, self.story()

    def right_until_death(self):
        return self.stamps.join(60) and not self.stamps.violations, self.story()

    def judge(self, strict):
        self.stamps.verify(strict)
        return not self.stamps.violations, self.story()

    def story(self):
        return f"{self.stamps.operations} operations; {self.stamps.errors[:3]}; {self.stamps.violations[:5]}"


class TortureClient:
    """A volume under nbdtorture."""

    def __init__(self, lab, region, kind, seed, program):
        self.lab = lab
        self.program = program
        self.name = f"{kind}-torture"
        region.create(self.name, size=SIZE)
        self.attachment = Attachment(region, self.name)
        self.journal = lab.dir / f"{kind}.journal"
        self.seed = seed
        self.process = None

    def start(self, live_seconds=None):
        options = ["--strict-acked", "--reconnect", "live"] if live_seconds else []
        if self.journal.exists():
            options.append("--resume")
        self._run("run", live_seconds or 900, "--journal", self.journal, "--boundary", 4194304, "--window", 128 * MIB,
                  "--no-probes", "--seed", self.seed % (1 << 63), *options)

    def _run(self, *words):
        """Each run with a log of its own, so that its text is the story of this run alone."""
        if self.process is not None:
            self.process.log.unlink(missing_ok=True)
        self.process = self.lab.start(self.program, *words, self.attachment.uri,
                                      log=f"{self.name}.{self.lab.started}.log")

    def ended_with(self, wanted):
        code = self.process.wait(300)
        text = self.process.log.read_text(errors="replace")
        return code == wanted, f"exit status {code}: {text}"

    def survived(self):
        good, story = self.ended_with(0)
        return good and "reconnects 0" in story and " errors 0 " in story, story

    def right_until_death(self):
        return self.ended_with(3)  # the server went away, and all was right before

    def judge(self, strict):
        self._run("verify", self.journal, "--compact", *(["--strict-acked"] if strict else []))
        return self.ended_with(0)


def make_clients(lab, region, kind, seed, torture):
    return ([StampsClient(lab, region, kind, seed)] +
            ([TortureClient(lab, region, kind, seed, torture)] if torture else []))


def check(what, client, outcome):
    return client.lab.check(f"{client.name}: {what}", *outcome)


def detach_all(clients):
    for client in clients:
        client.lab.check(f"{client.name}: clean detach after", client.attachment.stop(), client.attachment.log())
