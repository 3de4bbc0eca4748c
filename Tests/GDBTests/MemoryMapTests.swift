import Testing

/// Guest memory that comes, moves and goes while the plugin is connected: real QEMU, real GDB, no kernel. The memory is behind
/// a register of a PCI device, which the guest's CPU writes, one instruction at a time.
@Suite(.timeLimit(.minutes(2))) struct MemoryMapTests {
  @Test func memoryIsLookedForAgainWhereTheGuestOrAResetMovesIt() async throws {
    let output = try await Guest.beside(
      """
      qemu-system-riscv64 -nodefaults -no-user-config -display none -machine virt -m 256M -bios none -S \
      -object memory-backend-ram,id=m,size=16M,share=on -device ivshmem-plain,memdev=m,addr=1
      """,
      """
      set pagination off
      set style enabled off
      set architecture riscv:rv64
      define store
        set {unsigned int}0x80000000 = 0x00b52023
        set $a0 = $arg0
        set $a1 = $arg1
        set $pc = 0x80000000
        stepi
      end
      target remote $DIR/gdb.sock
      echo no memory\\n
      iommu walk 0 -root 0x400000000 -mode sv39
      echo plugged in\\n
      store 0x3000801c 4
      store 0x30008004 2
      set {unsigned long}0x400000000 = 0x2000000cf
      iommu walk 0 -root 0x400000000 -mode sv39
      echo moved\\n
      store 0x3000801c 5
      iommu walk 0 -root 0x400000000 -mode sv39
      iommu walk 0 -root 0x500000000 -mode sv39
      echo reset\\n
      hbreak *0x80000000
      monitor system_reset
      continue
      iommu walk 0 -root 0x500000000 -mode sv39
      """)
    try expectKnown(output, "memory-map-changes.txt")
  }
}
