"""`iommu ask`, the one command that changes the target."""

from . import parameters
from .arguments import Grammar, Known, Option, Value, Word, number
from .commands import Question
from .debugger import require_guest
from .state import session


class Ask(Question):
    """Ask the device itself where it would send an address. Writes to its registers.

    The RISC-V IOMMU has registers for that: TR_REQ_IOVA, TR_REQ_CTL and TR_RESPONSE. No other
    command writes to the target, and this one does it only when -intrusive says that it is
    meant. The answer stands beside the device walk and the walk by the specification. A refusal
    is a fault: the device reports it in its fault queue, as if an access had failed, and the
    guest's driver may tell of it. The answer says how many records were added, and an open
    investigation gets a note.

    QEMU looks into its cache first, as for any access: an answer that differs from the device walk
    may be that of an entry that is gone. QEMU 10.0 leaves the low bits of the address out."""

    name = "iommu ask"
    grammar = Grammar(
        Word(Value("IOVA"), "the address that the device would put on the bus"),
        Option(
            "device",
            "the device whose access is meant: its PCI address, 0000:00:01.0",
            Known("BDF", lambda: session().known_devices()),
        ),
        Option("write", "an access that writes as well as reads"),
        Option("execute", "one that reads to execute"),
        Option("process", "one for this process: its PASID", Value("N")),
        Option("privileged", "one with supervisor privilege"),
        Option("intrusive", "yes, write to the device's registers"),
    )
    repeats = False

    def answer(self, parsed, form):
        require_guest()
        return session().ask(
            number(parsed.words[0], "IOVA"),
            device=parsed.device or parameters.value("device"),
            write=bool(parsed.write),
            execute=bool(parsed.execute),
            process=number(parsed.process, "Process") if parsed.process else None,
            privileged=bool(parsed.privileged),
            intrusive=bool(parsed.intrusive),
            form=form,
        )
