import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// What was captured from real guests decodes to the conclusions that were drawn from it then.
@Suite struct EvidenceTests {
  static let nic = RequesterID(rawValue: 8)
  static let device = XuanTieDevice()

  /// How many of the logged pages reach their address.
  struct Count: Equatable {
    var specification = 0
    var device = 0
    var rootShift48 = 0
    var pages = 0
    /// The first page that the specification's walk misses.
    var missed: IOVA?
  }

  static func count(_ build: String) throws -> Count {
    let memory = try Evidence.memory("\(build)/tables-at-120-maps-pages.json")
    let registers = try Evidence.Meta("\(build)/tables-at-120-maps-meta.json").values()
    let root = try #require(try device.context(of: nic, registers: registers, memory: memory).firstStage)
    let wrong = root.mode.geometry.replacing(shift: 48, atLevel: 2)
    var count = Count()
    for call in try Evidence.calls("\(build)/map-unmap-calls-first-120.csv") {
      let target = try #require(call.target)
      for offset in stride(from: 0, to: call.length, by: 4096) {
        let iova = call.iova + offset
        count.pages += 1
        if root.mode.geometry.walk(iova, root: root.address, in: memory).target == target + offset {
          count.specification += 1
        } else {
          count.missed = count.missed ?? iova
        }
        if wrong.walk(iova, root: root.address, in: memory).target == target + offset { count.rootShift48 += 1 }
        let translation = device.translate(iova, access: .read, requester: nic, registers: registers, memory: memory)
        if translation.target(of: iova) == target + offset { count.device += 1 }
      }
    }
    return count
  }

  @Test func noPageReachesItsAddressWithTheBug() throws {
    #expect(
      try Self.count("pgdir-shift")
        == Count(specification: 0, device: 0, rootShift48: 120, pages: 121, missed: IOVA(0xffff_f000)))
  }

  @Test func everyWrittenPageReachesItsAddressWithTheFix() throws {
    // The snapshot was taken in the entry of the last call, whose entry is not written yet.
    #expect(
      try Self.count("fixed")
        == Count(specification: 120, device: 120, rootShift48: 0, pages: 121, missed: IOVA(0xfff8_6000)))
  }

  @Test(arguments: [("pgdir-shift", 0), ("fixed", 3)]) func theDeviceTableLeadsToTheRoot(_ build: String, slot: Int)
    throws
  {
    for moment in ["tables-at-120-maps", "tables-after-60-unmaps"] {
      let memory = try Evidence.memory("\(build)/\(moment)-pages.json")
      let meta = try Evidence.Meta("\(build)/\(moment)-meta.json")
      let context = try Self.device.context(of: Self.nic, registers: meta.values(), memory: memory)
      #expect(
        context.words == [
          .init(name: "DTE level 1", address: GPA(0x80b7_6000), value: 0x80b7_7000),
          .init(name: "DTE", address: GPA(0x80b7_7040), value: 0x80b8_1005),
          .init(name: "TD[0]", address: GPA(0x80b8_1000), value: 0x8000_0000_0008_0b82),
        ])
      #expect(
        context.translation
          == .translated(firstStage: TableRoot(address: GPA(0x80b8_2000), mode: .sv39), secondStage: nil))
      #expect(context.descriptor == GPA(0x80b8_1000))
      #expect(context.descriptor?.description == meta.driver_view?.tdtab_dma)
      #expect(context.firstStage?.address.description == meta.driver_view?.root)
      // The other function of the root complex (rsid 0) is attached as well, to a domain of its own.
      let contexts = try Self.device.contexts(registers: meta.values(), memory: memory, limit: 4096)
      #expect(contexts.map(\.requester.rsid) == [0, 8])
      #expect(contexts.last == context)
      for index in 0..<512 {
        let entry = try memory.word(at: GPA(0x80b8_2000) + UInt64(index) * 8)
        #expect(entry == (index == slot ? 0x202f_4801 : 0), "root[\(index)]")
      }
    }
  }

  @Test func thePredictionIsWhatTheFixedDriverWrote() throws {
    for (build, shift) in [("pgdir-shift", 48), ("fixed", 30)] {
      let memory = try Evidence.memory("\(build)/tables-at-120-maps-pages.json")
      let geometry = PagingMode.sv39.geometry.replacing(shift: shift, atLevel: 2)
      let driver = XuanTieDriver(signature: .pages)
      let calls = try Evidence.calls("\(build)/map-unmap-calls-first-120.csv")
      #expect(calls.count == 120)
      for (number, call) in calls.enumerated() {
        for run in driver.leaves(of: call, mode: .sv39) {
          for position in 0..<run.count {
            let predicted = try run.predictedEntries(position, geometry: geometry, root: GPA(0x80b8_2000), in: memory)
            #expect(predicted.map(\.level) == [2, 1, 0])
            #expect(predicted[0].index == (shift == 48 ? 0 : 3))
            let isWritten = number < 119
            for entry in predicted {
              let address = try #require(entry.entryAddress)
              let found = try memory.word(at: address)
              #expect(
                (found == entry.value?.rawValue) == (isWritten || entry.level > 0), "call \(number) at \(address)")
            }
          }
        }
      }
    }
  }

  @Test func unmapsTakeTheirLeavesOut() throws {
    for (build, leaves) in [("pgdir-shift", 258 + 1 - 59), ("fixed", 317 + 1 - 59)] {
      let memory = try Evidence.memory("\(build)/tables-after-60-unmaps-pages.json")
      let words = try (0..<512).map { try memory.word(at: GPA(0x80bd_3000) + $0 * 8) }
      #expect(words.count { $0 != 0 } == leaves, "\(build)")
    }
  }

  /// The device model does what the device was seen to do; the tables are from another boot of the same build, which gave
  /// the same addresses.
  @Test func translatesAsTheDeviceDid() throws {
    for (build, count) in [("pgdir-shift", 16), ("fixed", 40)] {
      let memory = try Evidence.memory("\(build)/tables-after-60-unmaps-pages.json")
      var registers = try Evidence.Meta("\(build)/tables-after-60-unmaps-meta.json").values()
      let seen = try Evidence.translations("\(build)/qemu-translate-results.csv")
      #expect(seen.count == count)
      for access in seen {
        let translation = Self.device.translate(
          access.iova, access: access.access, requester: Self.nic, registers: registers, memory: memory)
        #expect((translation.target(of: access.iova) != nil) == (access.granted != 0))
        #expect(translation.target(of: access.iova) ?? GPA(access.iova.rawValue) == access.translated)
        if access.granted == 0 { #expect(translation.latched == XuanTieFault.invalid) }
      }
      // The first fault, with nothing latched before it.
      registers.byOffset[XuanTieRegister.cause] = 0
      let first = Self.device.translate(
        IOVA(0xffff_f000), access: .read, requester: Self.nic, registers: registers, memory: memory)
      #expect(first.result == (build == "fixed" ? .translated(GPA(0x80bd_1000)) : .refused(XuanTieFault.invalid)))
      #expect(first.steps.count == (build == "fixed" ? 3 : 1))
      #expect(first.deviations == [])
    }
  }

  /// Root entry 3 repaired by hand while the fault was latched: the network adapter still timed out.
  @Test func aRepairedRootDoesNotHelpWhileTheFaultIsLatched() throws {
    let snapshot = try Evidence.memory("pgdir-shift/tables-after-60-unmaps-pages.json")
    var registers = try Evidence.Meta("pgdir-shift/tables-after-60-unmaps-meta.json").values()
    let memory = WordMemory()
    for page: UInt64 in [0x80b7_6000, 0x80b7_7000, 0x80b8_1000, 0x80b8_2000, 0x80bd_2000, 0x80bd_3000] {
      for offset in stride(from: page, to: page + 4096, by: 8) {
        memory.words[offset] = try snapshot.word(at: GPA(offset))
      }
    }
    memory.words[0x80b8_2018] = 0x202f_4801
    func access() -> DeviceTranslation {
      Self.device.translate(
        IOVA(0xffff_f00c), access: .read, requester: Self.nic, registers: registers, memory: memory)
    }
    #expect(access().result == .refused(XuanTieFault.invalid))
    #expect(access().steps.map(\.entry.rawValue) == [0x202f_4801])
    #expect(access().deviations == ["a cause from an earlier access ends the walk after level 2"])
    registers.byOffset[XuanTieRegister.cause] = 0  // RESUME
    #expect(access().result == .translated(GPA(0x80bd_100c)))
    #expect(access().deviations == [])
  }

  @Test func theRegistersSayWhatHappened() throws {
    let meaning = { (offset: UInt64, value: UInt64) in
      XuanTieRegister.all.first { $0.offset == offset }?.meaning(value)
    }
    for (build, cause) in [
      ("pgdir-shift", "pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)"), ("fixed", "no fault"),
    ] {
      let blocks = try Evidence.registers("\(build)/registers-before-and-after.txt")
      #expect(blocks.count == 3)
      for block in blocks { #expect(Set(block.values.byOffset.keys) == Set(XuanTieRegister.all.map(\.offset))) }
      #expect(blocks.map { $0.values[XuanTieRegister.enable] } == [0, 1, 1])
      #expect(meaning(0x20, try #require(blocks[2].values[0x20])) == cause)
      #expect(blocks[2].values[0x28] == (build == "fixed" ? 0 : 0xffff_f00c))
      #expect(blocks[2].values[0x18] == 0x80b7_6000)
      #expect(blocks[2].values[0x8] == 8)
      // At reset nothing is translated.
      let memory = try Evidence.memory("\(build)/tables-at-120-maps-pages.json")
      let atReset = Self.device.translate(
        IOVA(0xffff_f000), access: .read, requester: Self.nic, registers: blocks[0].values, memory: memory)
      #expect(atReset.result == .bypassed("translation is off"))
    }
  }

  @Test func theKernelsModeExplainsTheShift() throws {
    for build in ["pgdir-shift", "fixed"] {
      let text = try Fixtures.text("\(build)/kernel-paging-values.txt")
      let lines = text.split(separator: "\n")
      let question = try #require(lines.firstIndex { $0 == "(gdb) p/x $satp" })
      let answer = try #require(lines[question + 1].split(separator: " ").last)
      let satp = try #require(Evidence.number(answer))
      let paging = KernelPaging(satp: satp)
      #expect(paging.mode == .sv57)
      #expect(paging.constant(withShift: 48)?.name == "PGDIR_SHIFT")
      // The domain pointer in $a0 and the root's kernel address are in the linear map.
      let offset = try #require(Evidence.number("0xff5fffff7fe00000"))
      #expect(text.contains("va_pa_offset = 0xff5fffff7fe00000"))
      let memory = try Evidence.memory("\(build)/tables-at-120-maps-pages.json")
      let kernel = KernelMemory(memory: memory, linearOffset: offset)
      #expect(kernel.physical(KVA(0xff60_0000_0098_2000)) == GPA(0x80b8_2000))
      #expect(try kernel.word(at: KVA(0xff60_0000_0098_1000)) == 0x8000_0000_0008_0b82)
      #expect(kernel.physical(KVA(0xff20_0000_0062_0000)) == nil)
    }
  }

  @Test func hugePagesBecomeFourKiBLeaves() throws {
    let memory = try Evidence.memory("vfio/b-huge-pages-tables-pages.json")
    let registers = try Evidence.Meta("vfio/b-huge-pages-tables-meta.json").values()
    let context = try Self.device.context(of: Self.nic, registers: registers, memory: memory)
    #expect(context.words.map(\.value) == [0x80b7_a000, 0x80ba_f005, 0x8000_0000_0008_0b93])
    let root = try #require(context.firstStage)
    #expect(root == TableRoot(address: GPA(0x80b9_3000), mode: .sv39))

    let maps = try Evidence.calls("vfio/b-huge-pages-calls.csv").filter { $0.isMap && $0.allocation?.rawValue == 0xcc0 }
    #expect(
      maps.map { "\($0.iova) \($0.pages?.size ?? 0)x\($0.pages?.count ?? 0)" } == [
        "0x0 4096x2", "0x10000000 2097152x1", "0x10200000 2097152x1", "0xc0000000 2097152x2", "0x20001000 4096x1024",
      ])
    var leaves = 0
    for call in maps.dropFirst() {
      let target = try #require(call.target)
      for offset in stride(from: 0, to: call.length, by: 4096) {
        let walk = root.mode.geometry.walk(call.iova + offset, root: root.address, in: memory)
        #expect(walk.outcome == .mapped(target + offset, size: 4096, flags: [.valid, .read, .write]))
        let device = Self.device.translate(
          call.iova + offset, access: .readWrite, requester: Self.nic, registers: registers, memory: memory)
        #expect(device.result == .translated(target + offset))
        #expect(device.deviations == [])
        leaves += 1
      }
    }
    // Nothing else is mapped: what the attach test mapped at IOVA 0 is gone.
    var mapped: UInt64 = 0
    for case .mapping(let mapping) in root.mode.dump(root: root.address, in: memory) { mapped += mapping.size / 4096 }
    #expect(leaves == 512 + 512 + 1024 + 1024)
    #expect(mapped == UInt64(leaves))
  }

  /// Failure 5: the domain was freed, so the device table's entries are zero and every access passes through.
  @Test func withoutADomainTheDeviceIsBypassed() throws {
    let blocks = try Evidence.registers("cookie/registers-before-and-after.txt")
    #expect(blocks.map(\.title) == ["at e1000e_open", "after 8 more sends"])
    // l1_desc[0] and the entries that GDB printed.
    let listing = try Fixtures.text("cookie/e1000e-group-and-device-table.txt")
    #expect(listing.contains("{l2ptr = 0xff60000000977000, l2ptr_dma = 2159505408}"))
    let entries = listing.split(separator: "\n").filter { $0.hasPrefix("0xff60000000977") }
    #expect(entries.count == 8)
    #expect(entries.allSatisfy { $0.hasSuffix(":\t0x0000000000000000\t0x0000000000000000") })
    let memory = WordMemory([0x80b7_6000: 2_159_505_408])
    for (_, registers) in blocks {
      let context = try Self.device.context(of: Self.nic, registers: registers, memory: memory)
      #expect(context.translation == .bypassed("DTE not valid"))
      #expect(context.descriptor == nil)
      #expect(
        context.words == [
          .init(name: "DTE level 1", address: GPA(0x80b7_6000), value: 0x80b7_7000),
          .init(name: "DTE", address: GPA(0x80b7_7040), value: 0),
        ])
      let translation = Self.device.translate(
        IOVA(0x80c5_5036), access: .read, requester: Self.nic, registers: registers, memory: memory)
      #expect(translation.result == .bypassed("DTE not valid"))
      #expect(translation.target(of: IOVA(0x80c5_5036)) == GPA(0x80c5_5036))
      #expect(translation.latched == nil)
      #expect(try Self.device.contexts(registers: registers, memory: memory, limit: 4096) == [])
    }
  }
}

extension DriverCall {
  /// A map call's allocation flags.
  fileprivate var allocation: AllocationFlags? {
    if case .map(_, _, let allocation) = operation { return allocation }
    return nil
  }
}
