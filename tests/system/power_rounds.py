"""Rounds of power cuts: what is promised when the disks of all servers lose their power, with the region's process, and
with or without the drivers. Used by test_power.py and by the long campaign.

alive   the drivers are on other hosts and live on: clients see a pause, no error, no acknowledged write is lost
gone    everything is lost but the disks: no flushed write is lost, every sector holds its old or its new content

The region's folder lies on a plain disk, everything that it keeps there on the disk whose power is cut."""

import signal
import time

from clients import check
from lab import Region
from volatile_disk import VolatileDisk

EAGER_PERCENTS = [0, 30, 70, 95]


class PoweredRegion(Region):
    """A region whose metadata and stores lie on a VolatileDisk."""

    def __init__(self, lab, name, chance, bug="honest"):
        self.disk = VolatileDisk(lab, bug=bug)
        self.disk.power_on(chance.getrandbits(31), chance.choice(EAGER_PERCENTS))
        folder = lab.dir / name
        folder.mkdir()
        for kept in ["meta"] + [f"server-{n}" for n in range(1, 7)]:
            (self.disk.path / kept).mkdir()
            (folder / kept).symlink_to(self.disk.path / kept)
        super().__init__(lab, name=name)

    def cut(self, seconds_of_errors=0):
        """The power of the disks goes, and with it the process, at once or after it has met errors for a while."""
        if seconds_of_errors == 0:
            self.process.send_signal(signal.SIGSTOP)
        self.disk.power_cut()
        time.sleep(seconds_of_errors)
        self.kill()
        self.disk.clear_away()

    def again(self, chance):
        self.disk.power_on(chance.getrandbits(31), chance.choice(EAGER_PERCENTS))
        self.start()

    def end(self):
        good = self.stop()
        self.disk.clear_away()
        return good


def survive_cuts(region, clients, rounds, seconds, load):
    """Cuts within one run of the clients, whose drivers live. `rounds` yields a number and a source of chance for each;
    `load` waits until it is time, and is false when there is not time enough before the moment given."""
    lab = region.lab
    until = time.monotonic() + seconds - 4
    for client in clients:
        client.start(live_seconds=seconds)
    for number, chance in rounds:
        if not load(chance, until):
            break
        region.cut()
        region.again(chance)
        for client in clients:
            lab.check(f"{client.name}: the driver lives, power cut {number + 1}",
                      client.attachment.process.poll() is None, client.attachment.log())
    for client in clients:
        check("a pause, no error, nothing lost", client, client.survived())


def die_by_cut(region, clients, number, chance, load):
    """One cut with which everything dies; then all is judged. Sometimes the servers meet errors for a while before,
    when no driver is there any more that would have to tell them to its clients."""
    for client in clients:
        client.start()
    region.lab.check(f"load before power cut {number + 1}", load(chance, time.monotonic() + 120))
    seconds_of_errors = chance.choice([0, 0, chance.uniform(0, 0.05), chance.uniform(0, 0.5)])
    victims = [client.attachment.kill for client in clients] + ([region.cut] if seconds_of_errors == 0 else [])
    chance.shuffle(victims)
    for kill in victims:
        kill()
    if seconds_of_errors > 0:
        region.cut(seconds_of_errors)
    region.again(chance)
    for client in clients:
        check(f"right until power cut {number + 1}", client, client.right_until_death())
        client.attachment.start(wait=False)
    for client in clients:
        region.lab.wait_for(f"{client.name} taken over", client.attachment.ready, client.attachment.process)
        check(f"nothing flushed is lost by power cut {number + 1}", client, client.judge(strict=False))
