"""What the core asks of GDB. Each method answers or raises TargetError with a sentence that says what to do."""

import gdb

from .. import _core
from . import terminal


def _sentence(error):
    text = str(error).strip()
    return text if text.endswith(".") else text + "."


class Debugger:
    """The selected inferior, as iommulens._core.Session expects it."""

    def evaluate(self, expression):
        try:
            return int(gdb.parse_and_eval(expression)) & 0xFFFFFFFFFFFFFFFF
        except (gdb.error, ValueError, OverflowError) as error:
            raise _core.TargetError("`%s`: %s" % (expression, _sentence(error))) from None

    def string(self, expression):
        try:
            value = gdb.parse_and_eval(expression)
            # Linux declares `linux_banner[]` without a size, which GDB takes for an empty array.
            if value.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
                value = value.address
            return _text_at(int(value) & 0xFFFFFFFFFFFFFFFF)
        except (gdb.error, ValueError, OverflowError) as error:
            raise _core.TargetError("`%s`: %s" % (expression, _sentence(error))) from None

    def parameters(self, function):
        try:
            address = int(gdb.parse_and_eval("(unsigned long)&%s" % function))
            block = gdb.block_for_pc(address)
        except (gdb.error, RuntimeError):
            block = None
        while block is not None and block.function is None:
            block = block.superblock
        if block is None or block.function.name != function:
            raise _core.TargetError(
                "%s has no debug information: build the kernel with CONFIG_DEBUG_INFO and load it with `file vmlinux`."
                % function
            )
        return [symbol.name for symbol in block if symbol.is_argument]

    def function(self, address):
        block = None
        try:
            block = gdb.block_for_pc(address)
        except RuntimeError:
            pass
        while block is not None and block.function is None:
            block = block.superblock
        if block is None or block.start != address:
            raise _core.TargetError("No function with debug information starts at 0x%x." % address)
        return block.function.name

    def read_virtual(self, address, length):
        try:
            return _memory(address, length)
        except gdb.error as error:
            raise _core.TargetError(_sentence(error)) from None

    def read_physical(self, address, length):
        """Guest-physical bytes through QEMU's stub."""
        return self._read_physical([address], length)

    def read_physical_pages(self, addresses):
        """Whole pages one behind the other; asked for together, because changing the mode costs as much as a page."""
        return self._read_physical(addresses, 4096)

    def _read_physical(self, addresses, length):
        """Reads at each address in the stub's physical mode, which is switched back whatever happens."""
        try:
            gdb.execute("maint packet Qqemu.PhyMemMode:1", to_string=True)
            try:
                # GDB's own caches hold virtual memory; they must not answer.
                gdb.execute("maint flush dcache", to_string=True)
                return b"".join([_memory(address, length) for address in addresses])
            finally:
                gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)
                gdb.execute("maint flush dcache", to_string=True)
        except gdb.error as error:
            raise _core.TargetError(_sentence(error)) from None

    def write_physical(self, address, data):
        """Writes guest-physical memory or a device's registers. A stub without that mode would write to virtual memory."""
        try:
            answer = gdb.execute("maint packet Qqemu.PhyMemMode:1", to_string=True)
            if '"OK"' not in answer:
                raise _core.TargetError(
                    "This stub has no physical memory mode, so nothing was written: QEMU's has one."
                )
            try:
                gdb.selected_inferior().write_memory(address, data)
            finally:
                gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)
                gdb.execute("maint flush dcache", to_string=True)
        except gdb.error as error:
            raise _core.TargetError(_sentence(error)) from None

    def connection(self):
        connection = getattr(gdb.selected_inferior(), "connection", None)
        return connection.details if is_remote(connection) else None

    def is_inside(self, function, thread, stack):
        """Whether a call of `function` is on the stack of a thread, entered with that stack pointer; of any where None."""
        selected = gdb.selected_thread()
        try:
            for candidate in gdb.selected_inferior().threads():
                if thread is None or candidate.num == thread:
                    candidate.switch()
                    if _has_call(function, stack):
                        return True
            return False
        except gdb.error as error:
            raise _core.TargetError(_sentence(error)) from None
        finally:
            if selected is not None and selected.is_valid():
                selected.switch()

    def process(self):
        """The process that GDB itself runs or is attached to; None behind a remote connection and without one."""
        return gdb.selected_inferior().pid or None if self.connection() is None else None

    def architecture(self):
        try:
            return gdb.selected_inferior().architecture().name()
        except (AttributeError, gdb.error):
            return "unknown"

    def callers(self, function, limit):
        frame = _frame_of(function)
        return [] if frame is None else names_above(frame, limit)

    def argument(self, function, depth, name):
        """A parameter of the function `depth` frames above `function`, a pointer followed; None where it is not known."""
        frame = _frame_of(function)
        try:
            while frame is not None and depth >= 0:
                frame = frame.older()
                depth -= 1
            if frame is None:
                return None
            value = frame.read_var(name, _function_block(frame))
            if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
                value = value.dereference()
            return None if value.is_optimized_out else int(value) & 0xFFFFFFFFFFFFFFFF
        except (gdb.error, RuntimeError, ValueError):
            return None

    def progress(self, text):
        """Shows somebody who waits how far the work is; None takes the line away."""
        terminal.progress(text)

    def monitor(self, command):
        try:
            return gdb.execute("monitor %s" % command, to_string=True)
        except gdb.error as error:
            raise _core.TargetError("`monitor %s`: %s" % (command, _sentence(error))) from None


# GDB refuses values of more than 64 KiB unless told otherwise (`max-value-size`).
_PIECE = 1 << 14
_array_types = {}


def _memory(address, length):
    """So many bytes of the selected inferior.

    As a value, where values tell their bytes (GDB 15 on): when the target dies in Inferior.read_memory(), GDB 16.3, 17.2 and 18.1
    keep a thread that is gone, and abort at the next command.
    """
    inferior = gdb.selected_inferior()
    if not hasattr(gdb.Value, "bytes"):
        return bytes(inferior.read_memory(address, length))
    architecture = inferior.architecture()
    pieces = []
    for place in range(address, address + length, _PIECE):
        size = min(_PIECE, address + length - place)
        key = (architecture.name(), size)
        if key not in _array_types:
            # Kept: GDB frees no type of an architecture.
            _array_types[key] = architecture.integer_type(8, False).array(size - 1).pointer()
        pieces.append(gdb.Value(place & 0xFFFFFFFFFFFFFFFF).cast(_array_types[key]).dereference().bytes)
    return b"".join(pieces)


def _text_at(address, limit=4096):
    """The bytes before the first NUL, at most so many, as text. GDB's own way reads on until there is one, through all memory."""
    found, block = b"", 256
    while len(found) < limit and b"\0" not in found:
        # Pieces end with a block, because there may be no memory behind it.
        place = address + len(found)
        try:
            found += _memory(place, block - place % block)
        except gdb.MemoryError:
            # A program's file ends anywhere.
            if block == 1:
                raise
            block = 1
    return found.partition(b"\0")[0].decode(errors="replace")


def is_remote(connection):
    """Whether a connection leads to a stub."""
    return connection is not None and connection.type in ("remote", "extended-remote")


def _has_call(function, stack, limit=32):
    frame = gdb.newest_frame()
    for _ in range(limit):
        caller = frame.older()
        if frame.name() == function:
            # A function's canonical frame address is the stack pointer at its entry, and its caller's afterwards.
            if stack is None or caller is None or stack_pointer(caller) == stack:
                return True
        if caller is None:
            return stack is not None and _interrupts_above(frame, stack)
        frame = caller
    return False


def _interrupts_above(frame, stack):
    """Whether `frame` is an exception's entry, past which GDB cannot unwind, taken with more of the same stack in use."""
    if frame.name() not in ("handle_exception", "ret_from_exception"):
        return False
    try:
        saved = int(gdb.parse_and_eval("((struct pt_regs *)%d)->sp" % stack_pointer(frame)))
    except gdb.error:
        return False
    return 0 <= stack - (saved & 0xFFFFFFFFFFFFFFFF) < 1 << 14


def frames(frame, limit=256):
    """A frame and those above it. A stack that somebody has written over may look as if it had no end."""
    while frame is not None and limit > 0:
        yield frame
        frame = frame.older()
        limit -= 1


def _frame_of(function):
    """The frame of `function` that the selected thread is in, the innermost; None without one."""
    for frame in frames(gdb.newest_frame(), 32):
        if frame.name() == function:
            return frame
    return None


def _function_block(frame):
    block = frame.block()
    while block.function is None:
        block = block.superblock
    return block


def arguments(frame, function, names):
    """The values of the parameters `names` of `function`, which `frame` is of, from debug information."""
    values = []
    for name in names:
        value = frame.read_var(name, _function_block(frame))
        if value.is_optimized_out:
            raise gdb.GdbError(
                "%s's argument `%s` is optimized out here. `iommu record` or `iommu break` takes it at the function's entry."
                % (function, name)
            )
        values.append(int(value) & 0xFFFFFFFFFFFFFFFF)
    return values


def return_places(function):
    """Where `function` returns, as expressions that stay true when the program is loaded elsewhere."""
    try:
        start = int(gdb.parse_and_eval("(unsigned long)&%s" % function))
        block = gdb.block_for_pc(start)
        while block is not None and block.function is None:
            block = block.superblock
        if block is None:
            raise gdb.GdbError("%s has no debug information: this QEMU was stripped." % function)
        if block.end - block.start > 1 << 20:
            raise gdb.GdbError("%s has %d bytes by its symbols, which are another program's." % (function, block.end - block.start))
        code = gdb.selected_inferior().architecture().disassemble(block.start, block.end - 1)
    except (gdb.error, RuntimeError) as error:
        raise gdb.GdbError("%s cannot be disassembled: %s" % (function, error)) from None
    # `ret`, `repz ret`, `bnd ret`: whatever stands before it belongs to the instruction.
    return ["*%s+%d" % (function, line["addr"] - start) for line in code if "ret" in line["asm"].split()]


def require_guest():
    """An error that says what to do unless GDB is connected to a 64-bit RISC-V guest."""
    from .state import absence, session

    if session().side() == "qemu":
        raise gdb.GdbError(
            "The driver's calls are made in the guest: watch them in a GDB that has the kernel's symbols and is connected "
            "to QEMU's gdbstub. Here, in QEMU, `iommu break translate` and `iommu record translate`."
        )
    if Debugger().connection() is None:
        raise gdb.GdbError("No guest: connect to QEMU's gdbstub first, `target remote :1234`." + absence())
    try:
        name = gdb.selected_inferior().architecture().name()
    except (AttributeError, gdb.error):
        return
    if name != "riscv:rv64":
        raise gdb.GdbError(
            "The target's architecture is %s; this driver's calls are read on riscv:rv64. "
            "Use gdb-multiarch and load the kernel with `file vmlinux` before connecting." % name
        )


def step_in_target():
    """Lets the stub step over breakpoints; returns what to tell the user, None when nothing was changed.

    Under the GNU/Linux ABI, which it takes for its default, GDB steps RISC-V by a breakpoint on the next instruction, and
    lets one CPU run there with interrupts on. Where another CPU holds a lock that the handler wants, the guest stands
    still for ever. A kernel runs on no operating system: then GDB asks the stub, which steps one instruction.
    """
    if gdb.parameter("osabi") != "auto":
        return None
    gdb.execute("set osabi none", to_string=True)
    return "Set `osabi` to none: QEMU steps over breakpoints by itself, GDB's way can hang a guest with several CPUs."


def function_source(symbol):
    """`drivers/iommu/xuantie-iommu.c:61` for a function; None without line information."""
    try:
        place = gdb.find_pc_line(int(gdb.parse_and_eval("(unsigned long)&%s" % symbol)))
    except gdb.error:
        return None
    return "%s:%d" % (place.symtab.filename, place.line) if place.symtab else None


def names_above(frame, limit=32):
    """Names of the functions above `frame`, innermost first."""
    names = []
    try:
        frame = frame.older()
        while frame is not None and len(names) < limit:
            names.append(frame.name() or "0x%x" % frame.pc())
            frame = frame.older()
    except gdb.error:
        # A stack that cannot be unwound further has told what it could.
        pass
    return names


def stack_pointer(frame):
    """The stack pointer in a frame."""
    return int(frame.read_register("sp")) & 0xFFFFFFFFFFFFFFFF


def registers(count):
    """The first `count` argument registers of the RISC-V calling convention, in the innermost frame."""
    frame = gdb.newest_frame()
    return [int(frame.read_register("a%d" % number)) & 0xFFFFFFFFFFFFFFFF for number in range(min(count, 8))]


class EntryRegisters:
    """The stack pointer and the first `count` argument registers at a hit, where the selected frame is the innermost one.

    One expression and no frame object: to make one, GDB unwinds the caller, which costs as much as half the stop.
    """

    def __init__(self, count):
        self.indices = range(1, min(count, 8) + 1)
        self.expression = "{(long)$sp%s}" % "".join(",$a%d" % (index - 1) for index in self.indices)

    def read(self):
        values = gdb.parse_and_eval(self.expression)
        return int(values[0]) & 0xFFFFFFFFFFFFFFFF, [int(values[index]) & 0xFFFFFFFFFFFFFFFF for index in self.indices]
