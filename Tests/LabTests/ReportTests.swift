import Foundation
import Testing

/// The report of the investigation that the field notes tell, made on the real pair by somebody who knows what they knew at
/// its beginning: a network card that transmits nothing.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), .timeLimit(.minutes(10))) struct ReportTests {
  @Test func theReportHasWhatTheFieldNotesFound() async throws {
    // More than the notes' guest had, so that pages lie above 4 GiB as theirs did.
    let output = try await Lab("pgdir-shift", memory: "6G").debug(
      """
      iommu break map -iova 0xfffff000 -limit 1
      continue
      finish
      iommu record
      hbreak e1000_tx_timeout
      continue
      iommu note The card transmits nothing.
      iommu export $DIR/findings.md
      echo ====\\n
      shell cat $DIR/findings.md
      """)
    let report = output.components(separatedBy: "====\n").last ?? ""
    var rest = report[...]
    for found in [
      // The conclusion, and what to change.
      "**The root is indexed with shift 48, `PGDIR_SHIFT` of the CPU's Sv57; this table is Sv39: 30.**",
      "what to change:** drivers/iommu/xuantie-iommu-map.c:", "compute `vpn2_idx` with shift 30 (Sv39, level 2)",
      // The kernel, its paging mode, QEMU.
      "| Kernel | `Linux version 6.1.", "| CPU paging | Sv57 (satp 0xa", "| QEMU | 7\\.2.",
      // Why.
      "The CPU runs Sv57, where `PGDIR_SHIFT` is 48", "is latched and outlives the repair",
      // The call, as the notes have it, and who made it.
      "## Evidence for finding 1: map #1, `xt_iommu_map`", "| iova | `0xfffff000` | 4294963200 |", "| paddr | `0x1",
      "| size | 4096 | 1 x 4 KiB |", "| prot | `0x7` | READ\\|WRITE\\|CACHE |",
      "`iommu_dma_alloc_remap` ← `iommu_dma_alloc` ← `dma_alloc_attrs` ←",
      "`e1000_alloc_ring_dma`", "`e1000e_open`",
      // Where the device looks, and where the entries are.
      "### Where Sv39 looks for `0xfffff000`, and where shift 48 at level 2 leads", "| 2 | [3] `0x",
      "`0x0` not valid | [0] `0x", "| 1 | [511] ", "no table to look in | [511] `0x", "| 0 | [511] ",
      "QEMU xmmuv1: this IOVA faults: cause 16 (`S1_PTE_INVALID`).",
      // Everything else that was mapped.
      " pages disagree: ", " missing.",
      // What the device reports, under both names.
      "| `0x20` | IOMMUCAUSE (driver: FTVAL) | `0x8000000000080010` | pending: 0000:00:01.0 cause 16 (`S1_PTE_INVALID`) |",
      // Who is behind the IOMMU.
      "| `0000:00:01.0` | pci | 8 | `e1000e` | 1 | DMA | IOMMU |",
      // How it began.
      "NETDEV WATCHDOG", "| watchdog |", "- The card transmits nothing.",
    ] {
      guard let place = rest.firstRange(of: found) else {
        Issue.record("\"\(found)\" is missing:\n\(report.isEmpty ? output : report)")
        return
      }
      rest = rest[place.upperBound...]
    }
  }
}
