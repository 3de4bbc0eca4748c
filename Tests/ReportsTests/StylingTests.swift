import Testing

@testable import Reports

/// What is marked in a text for a terminal.
struct StylingTests {
  private let styling = Styling(starts: [.address: "<a>", .function: "<f>", .title: "<t>", .highlight: "<h>"])

  private func styled(_ text: String) -> String { styling.apply(to: text).replacing("\u{1b}[m", with: "</>") }

  @Test func marksAddressesNotValues() {
    #expect(
      styled("  level 2 [  3]  0x864cd018 = 0x21a22401   table 0x86889000")
        == "  level 2 [  3]  <a>0x864cd018</> = 0x21a22401   table <a>0x86889000</>")
    #expect(styled("0x1000-0x1fff -> 0x80000000  4 KiB") == "<a>0x1000</>-<a>0x1fff</> -> <a>0x80000000</>  4 KiB")
    #expect(
      styled("paging  Sv57, satp 0xa000: PGDIR_SHIFT 48   GFP_KERNEL (0xdc0)   a0x12 0x")
        == "paging  Sv57, satp 0xa000: PGDIR_SHIFT 48   GFP_KERNEL (0xdc0)   a0x12 <a>0x</>")
  }

  @Test func marksCallsAndTheirFunctions() {
    #expect(
      styled("map #1   0000:00:01.0 (rsid 8)   xt_iommu_map <- e1000_alloc_ring_dma <- x")
        == "<t>map #1</>   0000:00:01.0 (rsid 8)   <f>xt_iommu_map</> <- <f>e1000_alloc_ring_dma</> <- <f>x</>")
    #expect(styled("walk 0x1000   Sv39 root 0x2000") == "<t>walk</> <a>0x1000</>   Sv39 root <a>0x2000</>")
    #expect(styled(" <- ") == " <- ")
  }

  @Test func marksHeadsAndCauses() {
    #expect(styled("device  rsid  translation\nx") == "<t>device  rsid  translation</>\nx")
    #expect(styled("device  QEMU xmmuv1 at 0x80400000") == "device  QEMU xmmuv1 at <a>0x80400000</>")
    #expect(
      styled("1. the root is indexed with shift 48   (1 of 1 call)")
        == "<t>1. the root is indexed with shift 48</>   (1 of 1 call)")
  }

  @Test func marksWhatIsWrong() {
    #expect(styled("  verdict  missing at level 2: 1 of 1 page") == "  verdict  <h>missing</> at level 2: 1 of 1 page")
    #expect(styled("fail  default domains  none in 2 groups") == "<h>fail</>  default domains  none in 2 groups")
    #expect(styled("No item fails. dismissing it") == "No item fails. dismissing it")
  }

  /// Without a style there is no mark; the text is the same for one who sees no marks.
  @Test func leavesWhatHasNoStyle() {
    let text = "map #1   x <- y\n  0x1000 = 0x1   missing\n\n"
    #expect(Styling(starts: [:]).apply(to: text) == text)
    #expect(Styling(starts: [.address: "", .title: ""]).apply(to: text) == text)
    let marked = styled(text)
    #expect(marked != text)
    #expect(marked.replacing(/<\/?[afth]?>/, with: "") == text)
  }
}
