"""A client that writes pages which say what they are (pages.content), notes what was acknowledged, and knows of every
error what it leaves behind: ENOSPC is a refusal without effect; after EIO a page is as it was or as it was to be."""

import nbd

from pages import PAGE, content


class Ledger:
    def __init__(self, attachment):
        self.attachment = attachment
        self.may_be = {}  # page -> generations that it may hold; 0: zeros
        self.newest = 0
        self.handle = None
        self.connect()

    def connect(self):
        self.handle = nbd.NBD()
        self.handle.connect_uri(self.attachment.uri)

    def write(self, page, count=1):
        """The error's name, or an empty string."""
        self.newest += 1
        new = self.newest
        try:
            self.handle.pwrite(b"".join(content(page + n, new) for n in range(count)), page * PAGE)
        except nbd.Error as error:
            if error.errno != "ENOSPC":
                for n in range(count):
                    self.may_be[page + n] = self.may_be.get(page + n, {0}) | {new}
            return error.errno
        for n in range(count):
            self.may_be[page + n] = {new}
        return ""

    def trim(self, page, count):
        try:
            self.handle.trim(count * PAGE, page * PAGE)
        except nbd.Error as error:
            for n in range(count):
                self.may_be[page + n] = self.may_be.get(page + n, {0}) | {0}
            return error.errno
        for n in range(count):
            self.may_be[page + n] = {0}
        return ""

    def flush(self):
        try:
            self.handle.flush()
        except nbd.Error as error:
            return error.errno
        return ""

    def wrong(self):
        """Reads all that was ever written; what does not hold what it may, or cannot be read. What was read once is
        what it holds from then on."""
        found = []
        for page, generations in sorted(self.may_be.items()):
            try:
                read = self.handle.pread(PAGE, page * PAGE)
            except nbd.Error as error:
                found.append((page, str(error)))
                continue
            held = [g for g in generations if read == (content(page, g) if g else bytes(PAGE))]
            if not held:
                found.append((page, sorted(generations), read[:16].hex()))
            else:
                self.may_be[page] = {held[0]}
        return found
