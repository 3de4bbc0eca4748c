import Foundation
import Randomness
import Simulation
import Testing

@testable import Evidence

/// No text traps or hangs, whatever it is.
@Suite struct HostileTextTests {
  private static let files = [
    "field-notes.txt", "pgdir-shift/xt_iommu_map-first-3-stops.txt", "pgdir-shift/qemu-bt-start_xmit-pci_dma_read.txt",
    "pgdir-shift/registers-before-and-after.txt", "pgdir-shift/qemu-state-later.txt",
    "pgdir-shift/map-unmap-calls-first-120.csv", "pgdir-shift/qemu-translate-results.csv",
    "cookie/xt_iommu_domain_alloc-first-2-stops.txt", "vfio/d-console-alias-with-pgdir-bug.log",
    "riscv-iommu/fault-console.txt", "riscv-iommu/kernel.config.set", "cookie/e1000e-group-and-device-table.txt",
    "pgdir-shift/live-repair-of-root-table.txt", "pgdir-shift/tables-at-120-maps-meta.json",
    "pgdir-shift/tables-walk-summary.txt",
  ]

  @Test func mutations() throws {
    let texts = try Self.files.map { try Texts.fixture($0) }
    var numbers = SeededNumbers(seed: 7)
    for round in 0..<10_000 {
      let text = texts[round % texts.count]
      let start = Int.random(in: 0..<text.count, using: &numbers)
      var piece = Array(text[start..<min(text.count, start + 400)])
      for _ in 0..<Int.random(in: 1...8, using: &numbers) where !piece.isEmpty {
        let place = Int.random(in: 0..<piece.count, using: &numbers)
        switch Int.random(in: 0..<6, using: &numbers) {
        case 0: piece[place] = UInt8.random(in: 0...255, using: &numbers)
        case 1: piece.remove(at: place)
        case 2: piece.insert(UInt8("(){}[]\"'\\=,#<> \n0x-".utf8.randomElement(using: &numbers) ?? 0), at: place)
        case 3: piece.insert(contentsOf: Array("99999999999999999999".utf8), at: place)
        case 4: piece.removeSubrange(place..<min(piece.count, place + 20))
        default: piece.insert(contentsOf: piece[..<place].suffix(40), at: place)
        }
      }
      let extraction = Texts.reader.read(piece, name: round % 3 == 0 ? "mutated.json" : "mutated")
      #expect(extraction.isComplete, "\(String(decoding: piece, as: UTF8.self))")
    }
  }

  /// A number of two bytes takes fifty in memory.
  @Test func aCaptureHasALimit() throws {
    func refusals(_ count: Int) -> [String] {
      Texts.reader.read(Array("{\"root\": [\(String(repeating: "1,", count: count))1]}".utf8), name: "a.json").refusals
        .map(\.reason)
    }
    #expect(refusals(1 << 20 + 1) == ["It is JSON with more than 1048576 values, which is no capture."])
    #expect(refusals(1 << 10) == [])
  }

  @Test func everyLineIsAccountedFor() throws {
    for file in Self.files { #expect(try Texts.read(fixture: file).isComplete, "\(file)") }
  }

  @Test func longLines() {
    for start in [
      "#0  xt_iommu_map (", "#0  f (a=\"", "#1  0x", "[    1.0] ", "[", "[[[[", "CONFIG_X=", "seq,function,iova,",
      "000000002c000018: ", "xmmuv1_translate addr ", "map: IOMMU: ", "x = (", "{dtbase = ", "(gdb) p/x $satp", "satp ",
      "Breakpoint 1, f (", ">", "WARNING: ", "reakpoint ", "root[3] = 0x", "{\"", "(gdb) p x->kobj.name",
    ] {
      for fill in ["9", "(", ",", "a=1, ", " ", "enable = ", "x", "[<1", "satp", "xmmuv1_translate "] {
        // A megabyte for one of them; the others show in less that time rises with length.
        let length = fill == "a=1, " ? 1 << 20 : 1 << 16
        let line = start + String(repeating: fill, count: length / fill.utf8.count)
        #expect(Texts.read(line).lineCount == 1)
      }
    }
  }

  @Test func manyLines() throws {
    for line in [
      "#0  f (a=1", "#0  xt_iommu_map (domain=0x1, iova=1, paddr=1, pgsize=1, pgcount=1, iommu_prot=1) at a.c:1",
      "#1  g (x=", "        locals = 1", "[    1.0] WARNING: x", "[    1.0] epc : f+0x1/0x2", "CONFIG_A=y", "#", "# x",
      "a,b,c", "1,2,3", "xmmuv1_translate addr 1", "000000002c000018: 0x0000000000000001", "dtbase = 1",
      "(gdb) p s->dtbase",
      "$1 = 5", "root[0] = 0x1", "IOMMUCAUSE = 0x1", "root[0] = 0x1\nIOMMUCAUSE = 0x1\nx", "{\"root\": 1}",
      "(gdb) p x->kobj.name\n$1 = 5", "(gdb) p x->iommu_group", "1", "", "prose without end, (and) so = on",
      "#0  iommu_get_dma_cookie (domain=0x1) at a.c:1",
    ] {
      // Eight times the text must not take sixty-four times as long: what is per line stays per line.
      // The thread's own time: other work on the machine does not count.
      func time(_ bytes: Int) -> Duration {
        let text = String(repeating: line + "\n", count: bytes / (line.utf8.count + 1))
        let start = Self.threadTime()
        _ = Texts.read(text)
        return Self.threadTime() - start
      }
      _ = time(1 << 10)
      let (small, large) = (time(1 << 12), time(1 << 15))
      #expect(large < small * 24 + .milliseconds(200), "\(line): \(small), \(large)")
    }
  }

  private static func threadTime() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }
}
