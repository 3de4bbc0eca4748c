import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import RISCVIOMMU

/// Maps of pages, tables built from them, and translations that must be the maps' own.
@Suite struct MapPropertyTests {
  /// Where pages go, and whether they may be written.
  typealias Map = [UInt64: (page: UInt64, isWritable: Bool, group: UInt64?)]

  /// A table and the map that it was built from: pages, groups of 64 KiB and superpages of 2 MiB from `start` on, to pages
  /// from `target` on.
  struct Built {
    var builder: TableBuilder
    var map: Map = [:]

    mutating func fill(from start: UInt64, to target: UInt64, _ random: inout SeededNumbers) {
      for block in 0..<4 as Range<UInt64> {
        let input = start + block * 0x20_0000
        if random.chance(20) {
          let (page, flags) = (target + UInt64(random.below(8)) * 0x20_0000, random.pick([0xdf, 0x5b] as [UInt64]))
          builder.map(input, page, flags: flags, level: 1)
          note(input, page, 512, flags)
          continue
        }
        var place: UInt64 = 0
        while place < 512 {
          let flags = random.pick([0xdf, 0xdf, 0x5b] as [UInt64])
          if place % 16 == 0 && random.chance(40) {
            let page = target + UInt64(random.below(128)) * 0x1_0000
            builder.mapGroup(input + place * 4096, page, flags: flags)
            note(input + place * 4096, page, 16, flags, isGroup: true)
            place += 16
          } else {
            // Runs of consecutive pages, with gaps.
            let page = target + UInt64(random.below(2000)) * 4096
            let count = min(512 - place, UInt64(random.below(40) + 1))
            if random.chance(80) {
              for member in 0..<count {
                builder.map(input + (place + member) * 4096, page + member * 4096, flags: flags)
              }
              note(input + place * 4096, page, count, flags)
            }
            place += count
            while place % 16 != 0 && random.chance(70) { place += 1 }
          }
        }
      }
    }

    mutating func note(_ input: UInt64, _ page: UInt64, _ count: UInt64, _ flags: UInt64, isGroup: Bool = false) {
      for member in 0..<count {
        map[input / 4096 + member] = (page / 4096 + member, flags & 4 != 0, isGroup ? page / 4096 + 8 : nil)
      }
    }
  }

  /// Cause, or where the page goes.
  enum End: Equatable { case to(UInt64), cause(UInt16) }

  /// What the maps say of a page: a device that ignores N goes to the middle of a group.
  private static func end(
    _ page: UInt64, _ access: Access, _ first: Map?, _ second: Map?, ignoresContiguous: Bool
  ) -> End {
    var page = page
    var needsWrite = access.writes
    if let first {
      guard let found = first[page] else { return .cause(access.writes ? 15 : 13) }
      if access.writes && !found.isWritable { return .cause(15) }
      page = ignoresContiguous ? found.group ?? found.page : found.page
      if ignoresContiguous { needsWrite = found.isWritable }
    }
    if let second {
      guard let found = second[page] else { return .cause(needsWrite ? 23 : 21) }
      if needsWrite && !found.isWritable { return .cause(23) }
      page = ignoresContiguous ? found.group ?? found.page : found.page
    }
    return .to(page * 4096)
  }

  @Test(arguments: [0, 8, 9, 10], [0, 8, 9, 10] as [UInt64])
  func translationsAreTheMapsOwn(_ firstMode: UInt64, _ secondMode: UInt64) {
    guard firstMode != 0 || secondMode != 0 else { return }
    for round in 0..<2 {
      var random = SeededNumbers(round: round)
      let memory = WordMemory()
      var (first, second): (Built?, Built?)
      let inputs: UInt64 = firstMode == 0 ? 0x5000_0000 : random.pick([0, 0x5000_0000, 0x3f_ff80_0000])
      let displacement: UInt64 = secondMode == 0 ? 0 : 0x1_0000_0000
      if firstMode != 0 {
        var built = Built(builder: TableBuilder(memory: memory, isBig: false))
        (built.builder.isWide, built.builder.levels) = (false, Int(firstMode) - 5)
        (built.builder.root, built.builder.next) = (0x7000_0000, 0x7000_1000)
        built.builder.displacement = displacement
        built.fill(from: inputs, to: 0x5000_0000, &random)
        first = built
      }
      if secondMode != 0 {
        var built = Built(builder: TableBuilder(memory: memory, isBig: false))
        built.builder.levels = Int(secondMode) - 5
        (built.builder.root, built.builder.next) = (0xa000_0000, 0xa000_4000)
        built.fill(from: 0x5000_0000, to: 0xc000_0000, &random)
        for table in 0..<32 as Range<UInt64> {
          built.builder.map(0x7000_0000 + table * 4096, 0x7000_0000 + table * 4096 + displacement, flags: 0xdf)
        }
        second = built
      }
      memory[0x9000_0000] = 1
      memory[0x9000_0008] = secondMode << 60 | (secondMode == 0 ? 0 : 0xa_0000)
      memory[0x9000_0018] = firstMode << 60 | (firstMode == 0 ? 0 : 0x7_0000)
      let registers = RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: 0x9000_0000 >> 2 | 2])
      let resident = ResidentPages(of: memory)
      for model in [Implementation.specification, .qemu10] {
        for access in [Access.read, .write] {
          let device = RISCVIOMMUDevice(model)
          let requester = RequesterID(rawValue: 0)
          let translator = device.translator(
            access: access, requester: requester, registers: registers, memory: resident)
          var (page, longest) = (inputs / 4096, UInt64(0))
          let last = page + 2048
          while page < last {
            let run = translator.run(at: IOVA(page * 4096), limit: last - page)
            longest = max(longest, run.pages)
            for member in 0..<run.pages {
              let wanted = Self.end(
                page + member, access, first?.map, second?.map, ignoresContiguous: !model.quirks.isEmpty)
              let found: End
              switch run.result {
              case .translated(let target): found = .to(target.rawValue + member * 4096)
              case .refused(let cause): found = .cause(cause?.code ?? 0)
              default: found = .cause(0)
              }
              guard found == wanted else {
                Issue.record(
                  "seed \(SeededNumbers.run) round \(round) \(model.name) \(hex((page + member) * 4096)) \(access): \(found), not \(wanted)"
                )
                return
              }
            }
            // Each by itself is held against the run elsewhere; here one in each run.
            let single = device.translate(
              IOVA(page * 4096), access: access, requester: requester, registers: registers, memory: resident)
            #expect(single.result == run.result)
            page += run.pages
          }
          #expect(longest > 4)
        }
      }
    }
  }
}
