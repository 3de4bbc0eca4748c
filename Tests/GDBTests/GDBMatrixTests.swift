import Testing

/// What must hold in every GDB: Debian's, and those that IOMMULENS_GDBS names (`make test-gdbs`).
@Suite(.serialized, .timeLimit(.minutes(5))) struct GDBMatrixTests {
  @Test(arguments: Host.gdbs) func namesTheCause(gdb: Host) async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -limit 1
      continue
      finish
      iommu record
      hbreak lab_workload_done
      continue
      iommu check
      iommu diagnose
      iommu export $DIR/findings.md
      """, gdb: gdb)
    for line in [
      "map #1   0000:00:01.0 (rsid 8)   xt_iommu_map <- e1000_alloc_ring_dma",
      "  verdict  missing at level 2: 1 of 1 page",
      "2743 of 4328 pages disagree: 66 overwritten, 2677 missing.",
      "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (395 of 395 calls)",
      "Written to $DIR/findings.md.",
    ] {
      #expect(output.contains(line + "\n"), "\(line)")
    }
  }

  @Test(arguments: Host.gdbs) func saysWhatIsMissing(gdb: Host) async throws {
    let output = try await Guest.alone(
      Guest.attempts(["iommu break", "iommu walk 0 -root 0", "iommu check"]), gdb: gdb)
    #expect(
      output == """
        (gdb) iommu break
        No guest: connect to QEMU's gdbstub first, `target remote :1234`.
        (gdb) iommu walk 0 -root 0
        No guest: connect to QEMU's gdbstub first, `target remote :1234`.
        (gdb) iommu check
        No investigation is open: `iommu open [FILE]` starts one.

        """)
  }
}
