import IOMMUModel
import Investigation
import Simulation
import Testing

@testable import Evidence

/// A backtrace tells the same however terminals and mail programs have broken its lines.
@Suite struct WrappingTests {
  /// What a text tells of calls and translations, without the lines that it stands in.
  private struct Told: Equatable {
    let calls: [DriverCall], callers: [[String]], translations: [RecordedTranslation], others: [[String]]

    init(_ extraction: Extraction) {
      calls = extraction.calls.map(\.call)
      callers = extraction.calls.map(\.callers)
      translations = extraction.translations
      others = extraction.findings.compactMap {
        if case .otherBacktrace(let functions) = $0.evidence { functions } else { nil }
      }
    }
  }

  private static let files = [
    "field-notes.txt", "pgdir-shift/xt_iommu_map-first-3-stops.txt", "pgdir-shift/xt_iommu_unmap-first-2-stops.txt",
    "pgdir-shift/qemu-bt-start_xmit-pci_dma_read.txt", "vfio/b-huge-pages-xt_iommu_map-bt.txt",
  ]

  /// How a long line is broken.
  enum Way: CaseIterable {
    /// At a column, whatever stands there.
    case column
    /// At a space, which is lost.
    case word
    /// At a space, and what follows is indented, as GDB does.
    case indented
    /// At a space, in a mail that quotes it.
    case quoted
  }

  private static func wrap(_ line: Substring, at width: Int, _ way: Way) -> [String] {
    guard line.first == "#" else { return [String(line)] }
    var pieces: [String] = []
    var rest = line
    while rest.count > width {
      var piece = rest.prefix(width)
      rest = rest.dropFirst(piece.count)
      if way != .column, rest.first != " " {
        // Back to the last space; a word that is longer than the line goes on to the next one.
        if let space = piece.lastIndex(of: " "), space > piece.startIndex,
          piece[..<space].contains(where: { $0 != " " })
        {
          rest = piece[piece.index(after: space)...] + rest
          piece = piece[..<space]
        } else {
          let word = rest.prefix { $0 != " " }
          piece += word
          rest = rest.dropFirst(word.count)
        }
      }
      if way != .column { rest = rest.drop { $0 == " " } }
      pieces.append(String(piece))
    }
    if !rest.isEmpty { pieces.append(String(rest)) }
    switch way {
    case .column, .word: return pieces
    case .indented: return pieces.prefix(1) + pieces.dropFirst().map { "    " + $0 }
    case .quoted: return pieces.map { "> " + $0 }
    }
  }

  @Test(arguments: Way.allCases) func wrappedTextTellsTheSame(_ way: Way) throws {
    for file in Self.files {
      let text = String(decoding: try Texts.fixture(file), as: UTF8.self)
      let expected = Told(Texts.read(text))
      #expect(!expected.calls.isEmpty || !expected.translations.isEmpty)
      for width in [24, 31, 40, 57, 64, 72, 76, 80, 100, 132, 200] {
        let wrapped = text.split(separator: "\n", omittingEmptySubsequences: false)
          .flatMap { Self.wrap($0, at: width, way) }.joined(separator: "\n")
        #expect(Told(Texts.read(wrapped)) == expected, "\(file) at \(width)")
      }
    }
  }

  @Test func everyColumn() throws {
    // One frame broken once, at every place.
    let line =
      "#3  0xffffffff80148238 in xt_iommu_map (domain=0xff60, iova=4294963200, paddr=<optimized out>, paddr@entry=5, pgsize=4096, pgcount=1, iommu_prot=7, gfp=2592, mapped=0x0) at ../drivers/iommu/xuantie-iommu.c:61"
    let above = "#4  0xffffffff80148239 in caller (paddr=4096, b=b@entry=2) at ../a.c:123"
    let expected = Told(Texts.read("\(line)\n\(above)\n"))
    #expect(expected.calls.count == 1)
    for text in [line, above] {
      for column in 2..<text.count {
        let broken = text.prefix(column) + "\n" + text.dropFirst(column)
        let whole = text == line ? "\(broken)\n\(above)" : "\(line)\n\(broken)"
        #expect(Told(Texts.read(whole)) == expected, "\(broken)")
      }
    }
  }

  @Test func proseIsNoContinuation() {
    let cut = "#0  xt_iommu_map (domain=0x1, iova=4294963200, paddr=4397"
    for next in ["以后的内容 (见下)", "", "#1  0x0000000000000001 in f (a=1) at a.c:1", "(gdb) info args", "[    1.0] text)"] {
      let read = Texts.read("\(cut)\n\(next)\n")
      #expect(read.calls.isEmpty && read.refusals.contains { $0.reason.hasSuffix("arguments are cut off.") }, "\(next)")
    }
  }
}
