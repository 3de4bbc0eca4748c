import GuestMemory
import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// What was captured from a real guest decodes to the conclusions that were drawn from it then.
@Suite struct EvidenceTests {
  static let nic = RequesterID(rawValue: 8)
  static let device = RISCVIOMMUDevice()
  static let specification = RISCVIOMMUDevice(.specification)

  @Test func theDirectoryLeadsToTheContexts() throws {
    let memory = try SnapshotMemory(pages: Evidence.pages("main-pages.json"))
    let meta = try Evidence.Meta("main-meta.json")
    let context = try Self.device.context(of: Self.nic, registers: meta.values(), memory: memory)
    #expect(
      context.words == [
        .init(name: "DDT[2]", address: GPA(0x80a5_7000), value: 0x202a_8801),
        .init(name: "DDT[1]", address: GPA(0x80aa_2000), value: 0x202a_8c01),
        .init(name: "DC.tc", address: GPA(0x80aa_3200), value: 1),
        .init(name: "DC.iohgatp", address: GPA(0x80aa_3208), value: 0),
        .init(name: "DC.ta", address: GPA(0x80aa_3210), value: 0x2000),
        .init(name: "DC.fsc", address: GPA(0x80aa_3218), value: 0xa000_0000_0008_0aab),
        .init(name: "DC.msiptp", address: GPA(0x80aa_3220), value: 0),
        .init(name: "DC.msi_addr_mask", address: GPA(0x80aa_3228), value: 0),
        .init(name: "DC.msi_addr_pattern", address: GPA(0x80aa_3230), value: 0),
        .init(name: "DC.reserved", address: GPA(0x80aa_3238), value: 0),
      ])
    #expect(
      context.translation
        == .translated(firstStage: TableRoot(address: GPA(0x80aa_b000), mode: .sv57), secondStage: nil))
    #expect(context.descriptor == GPA(0x80aa_b000))
    #expect(DeviceContextEntry(words: try meta.context("0x8")).addressSpace == 2)

    let contexts = try Self.device.contexts(registers: meta.values(), memory: memory, limit: 100)
    #expect(contexts.map(\.requester.rawValue) == [0, 8])
    #expect(contexts.map(\.descriptor) == [GPA(0x80aa_5000), GPA(0x80aa_b000)])
    #expect(contexts.last == context)
    for (device, captured) in try #require(meta.devices) {
      let id = try #require(Evidence.number(device))
      let found = try Self.device.context(
        of: RequesterID(rawValue: UInt32(id)), registers: meta.values(), memory: memory)
      #expect(found.words.dropFirst(2).map(\.value) == (try meta.context(device)))
      #expect(found.words[2].address.description == captured.dc_addr)
    }
    #expect(
      try Self.device.context(of: RequesterID(rawValue: 16), registers: meta.values(), memory: memory).translation
        == .refused("cause 258 (DDT entry not valid)"))
  }

  /// The contexts that were captured by themselves: identity without IOMMU_DMA, Sv57 beside a CPU in Sv39, a PCI device.
  @Test(
    arguments: [
      ("stock-identity-dc.json", 8, nil), ("sv39-kernel-sv57-iommu-dc.json", 8, 0x80aa_9000),
      ("pci-iommu-dc.json", 16, 0x80aa_a000),
    ] as [(String, UInt32, UInt64?)]) func capturedContexts(_ file: String, device: UInt32, root: UInt64?) throws
  {
    let meta = try Evidence.Meta(file)
    let registers = meta.values()
    let words = try meta.context(hex(UInt64(device)))
    let directory = DirectoryPointer(rawValue: try #require(registers[0x10]))
    #expect(directory.mode == .directory(levels: 3))
    let captured = try #require(meta.devices?[hex(UInt64(device))])
    let place = try #require(Evidence.number(captured.dc_addr))
    // The pages above it were not captured: any will do.
    var pages: [GPA: [UInt8]] = [:]
    Evidence.store(0x9000_0000 >> 2 | 1, at: directory.root.rawValue, in: &pages)
    Evidence.store((place & ~0xfff) >> 2 | 1, at: 0x9000_0000, in: &pages)
    for (position, word) in words.enumerated() { Evidence.store(word, at: place + UInt64(position * 8), in: &pages) }
    let memory = try SnapshotMemory(pages: pages)
    let context = try Self.device.context(
      of: RequesterID(rawValue: device), registers: registers, memory: memory)
    #expect(context.words.dropFirst(2).map(\.value) == words)
    #expect(context.descriptor == root.map { GPA($0) })
    #expect(
      context.translation
        == (root.map { .translated(firstStage: TableRoot(address: GPA($0), mode: .sv57), secondStage: nil) }
          ?? .bypassed("fsc and iohgatp are Bare")))
  }

  @Test func everyLeafOfTheTableIsFoundByWalkDumpAndRuns() throws {
    let memory = try SnapshotMemory(pages: Evidence.pages("main-pages.json"))
    let registers = try Evidence.Meta("main-meta.json").values()
    let lines = try Fixtures.text("riscv-iommu/main-leaves.csv").split(separator: "\n").dropFirst()
    #expect(lines.count == 258)
    var leaves: [IOVA: GPA] = [:]
    let translator = Self.device.translator(
      access: .readWrite, requester: Self.nic, registers: registers, memory: memory)
    for line in lines {
      let cells = line.split(separator: ",")
      let (iova, target) = (IOVA(try #require(Evidence.number(cells[0]))), GPA(try #require(Evidence.number(cells[4]))))
      leaves[iova] = target
      for device in [Self.device, Self.specification] {
        let translation = device.translate(
          iova + 0x123, access: .readWrite, requester: Self.nic, registers: registers, memory: memory)
        #expect(translation.result == .translated(target + 0x123))
        #expect(translation.deviations == [])
        #expect(translation.steps.map(\.level) == [4, 3, 2, 1, 0])
        #expect(translation.steps.last?.entry.rawValue == Evidence.number(cells[3]))
        #expect(translation.steps.last?.index == Int(cells[2]))
      }
      #expect(translator.run(at: iova, limit: 1).result == .translated(target))
    }
    let root = try #require(
      try Self.device.context(of: Self.nic, registers: registers, memory: memory).firstStage)
    var found: [IOVA: GPA] = [:]
    for item in root.mode.dump(root: root.address, in: memory) {
      guard case .mapping(let mapping) = item else {
        Issue.record("\(item)")
        continue
      }
      for offset in stride(from: 0, to: mapping.size, by: 4096) {
        found[mapping.iova + offset] = mapping.target + offset
      }
    }
    #expect(found == leaves)
    // Runs tell every page of the leaf tables the same way.
    var told: [IOVA: GPA] = [:]
    var iova = IOVA(0xffe0_0000)
    while iova < IOVA(0x1_0000_0000) {
      let run = translator.run(at: iova, limit: (0x1_0000_0000 - iova.rawValue) >> 12)
      if case .translated(let target) = run.result {
        for page in 0..<run.pages { told[iova + page << 12] = target + page << 12 }
      }
      iova = iova + run.pages << 12
    }
    #expect(told == leaves)
  }

  /// 192 of the 1580 translations are in the shortened trace. The transmit buffer at 0xffefc000 comes and goes: its mappings
  /// are in the log of the calls, and its leaf is written as another run shows it (fault-gdb-session.txt).
  @Test func theDeviceDoesWhatItsTraceSays() throws {
    var pages = try Evidence.pages("main-pages.json")
    let registers = try Evidence.Meta("main-meta.json").values()
    let calls = try Fixtures.text("riscv-iommu/main-map-unmap.csv").split(separator: "\n").dropFirst()
      .map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    let buffer = calls.filter { $0[2] == "map" && $0[4] == "0xffefc000" }
    #expect(buffer.count == 30 && Set(buffer.map { $0[5] }) == ["0x80b7f000"])
    let empty = try SnapshotMemory(pages: pages)
    Evidence.store(0x202d_fc5b, at: 0x80ad_e7e0, in: &pages)
    let memory = try SnapshotMemory(pages: pages)
    var count = (table: 0, buffer: 0, cached: 0)
    for case .dma(let requester, let access, let iova, let target) in try Evidence.trace("main-trace.txt") {
      #expect(requester == Self.nic)
      let isBuffer = iova.page == IOVA(0xffef_c000)
      let translation = Self.device.translate(
        iova, access: access, requester: requester, registers: registers, memory: isBuffer ? memory : empty)
      #expect(translation.deviations == [])
      guard case .translated(let found) = translation.result else {
        Issue.record("\(iova): \(translation.result)")
        continue
      }
      // The cache answers with the page alone.
      #expect(found == target || found.page == target)
      if found != target { count.cached += 1 }
      if isBuffer { count.buffer += 1 } else { count.table += 1 }
    }
    #expect(count == (table: 144, buffer: 48, cached: 142))
  }

  @Test func aGroupOf64KiBGoesToItsMiddleInQEMU() throws {
    var pages = try Evidence.pages("napot-pages.json")
    let registers = Self.directory(root: 0x80aa_b000, in: &pages)
    let memory = try SnapshotMemory(pages: pages)
    var lines = 0
    for case .dma(let requester, let access, let iova, let target) in try Evidence.trace("napot-trace.txt") {
      lines += 1
      let translation = Self.device.translate(
        iova, access: access, requester: requester, registers: registers, memory: memory)
      #expect(translation.target(of: iova)?.page == target)
      #expect(
        translation.deviations == [
          "N in the leaf at level 0 is ignored: it sends all pages of its group to 0x80b08000, not each to its own"
        ])
      let specified = Self.specification.translate(
        iova, access: access, requester: requester, registers: registers, memory: memory)
      #expect(specified.result == .translated(GPA(0x80b0_0000 + (iova - IOVA(0xffff_0000)))))
      #expect(specified.deviations == [])
    }
    #expect(lines == 67)
    func run(_ device: RISCVIOMMUDevice) -> DeviceRun {
      let translator = device.translator(
        access: .readWrite, requester: Self.nic, registers: registers, memory: memory)
      _ = translator.run(at: IOVA(0xffff_f000), limit: 1)
      return translator.run(at: IOVA(0xffff_0000), limit: 100)
    }
    #expect(run(Self.specification).pages == 16 && run(Self.specification).result == .translated(GPA(0x80b0_0000)))
    #expect(run(Self.device).pages == 1 && run(Self.device).result == .translated(GPA(0x80b0_8000)))
  }

  /// A directory of one level that has the network card use a captured Sv57 table.
  static func directory(root: UInt64, in pages: inout [GPA: [UInt8]]) -> RegisterValues {
    Evidence.store(1, at: 0x9000_0000 + 8 * 64, in: &pages)
    Evidence.store(10 << 60 | root >> 12, at: 0x9000_0000 + 8 * 64 + 24, in: &pages)
    return RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: 0x9000_0000 >> 2 | 2])
  }

  /// iommu_map called from GDB; `iova_to_phys` is what the kernel says of its own tables.
  @Test func superpagesAndGroupsAreFoundWhereTheKernelSays() throws {
    var pages = try Evidence.pages("superpages-pages.json")
    let registers = Self.directory(root: 0x80aa_b000, in: &pages)
    let memory = try SnapshotMemory(pages: pages)
    var (answers, wrong, sizes) = (0, [IOVA](), [Int: Int]())
    for line in try Fixtures.text("riscv-iommu/superpages-gdb-session.txt").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.first == "iova_to_phys" else { continue }
      let (iova, target) = (IOVA(try #require(Evidence.number(words[1]))), GPA(try #require(Evidence.number(words[3]))))
      answers += 1
      let specified = Self.specification.translate(
        iova, access: .read, requester: Self.nic, registers: registers, memory: memory)
      #expect(specified.result == .translated(target), "\(iova)")
      sizes[specified.steps.last?.level ?? -1, default: 0] += 1
      let device = Self.device.translate(
        iova, access: .read, requester: Self.nic, registers: registers, memory: memory)
      if device.result != .translated(target) { wrong.append(iova) }
      #expect((device.result != .translated(target)) == !device.deviations.isEmpty)
    }
    #expect(answers == 14)
    // 1 GiB and 2 MiB leaves and those of 4 KiB.
    #expect(sizes == [0: 7, 1: 4, 2: 3])
    // Those in groups of 64 KiB.
    #expect(wrong == [0x6000_0000, 0x6000_5008, 0x6000_f000].map { IOVA($0) })
    // The read-only group refuses a write in both.
    for device in [Self.device, Self.specification] {
      let write = device.translate(
        IOVA(0x6000_0000), access: .write, requester: Self.nic, registers: registers, memory: memory)
      #expect(write.result == .refused(FaultCause(code: 15, name: "write/AMO page fault")))
    }
    let translator = Self.device.translator(
      access: .read, requester: Self.nic, registers: registers, memory: memory)
    #expect(translator.run(at: IOVA(0x8000_0000), limit: .max).pages == 1 << 18)
    #expect(translator.run(at: IOVA(0x4000_1000), limit: .max).pages == 511)
  }

  /// A leaf that was cleared faults as the records say, and the records are the trace's.
  @Test(arguments: [("fault", 0x80ad_f7e0), ("fault-noioatc", 0x80ad_e7e0)] as [(String, UInt64)])
  func theFaultRunsFaultAsTheTablesSay(_ run: String, leaf: UInt64) throws {
    let session = try Fixtures.text("riscv-iommu/\(run)-gdb-session.txt").split(separator: "\n")
    // `   (4, '0x80aab000', 0, '0x80aab000', '0x202b7001')`, the walk after the map call.
    var pages: [GPA: [UInt8]] = [:]
    let after = try #require(session.firstIndex { $0.hasPrefix("after map") })
    for line in session[(after + 1)...(after + 5)] {
      let numbers = line.split { "(), '".contains($0) }.compactMap(Evidence.number)
      #expect(numbers.count == 5)
      Evidence.store(numbers[4], at: numbers[3], in: &pages)
    }
    let registers = Self.directory(root: 0x80aa_b000, in: &pages)
    let iova = IOVA(0xffef_c002)
    func translate() throws -> DeviceTranslation {
      Self.device.translate(
        iova, access: .read, requester: Self.nic, registers: registers, memory: try SnapshotMemory(pages: pages))
    }
    #expect(try translate().result == .translated(GPA(0x80b7_f002)))
    #expect(session.contains("clear the leaf at \(hex(leaf)) (was 0x202dfc5b)"))
    Evidence.store(0, at: leaf, in: &pages)
    #expect(try translate().result == .refused(FaultCause(code: 13, name: "read page fault")))

    // `fault record 0:  ['0x80d0000000d', '0x0', '0xffefc002', '0x0']`
    let records = session.filter { $0.hasPrefix("fault record") }.map { line in
      FaultRecord(words: line.split { "[], '".contains($0) }.dropFirst(3).compactMap(Evidence.number))
    }
    #expect(records.map(\.address) == [0xffef_c002, 0xffef_c002, 0xffef_c004, 0xffef_c008].map { IOVA($0) })
    for record in records {
      #expect(record.cause == FaultCause(code: 13, name: "read page fault"))
      #expect(record.requester == Self.nic)
      // Quirks: it was a read, without a process.
      #expect(record.transactionType == 3 && record.process == 0)
    }
    #expect(
      records[0].description
        == "0000:00:01.0 cause 13 (read page fault) at 0xffefc002, untranslated write, process 0")
    #expect(
      records[0].fault
        == LatchedFault(requester: Self.nic, cause: FaultCause(code: 13, name: "read page fault"), address: iova))
    // `FQH 0x106 FQT 0x106 …`: the kernel has read them all.
    let line = try #require(session.first { $0.hasPrefix("FQH") }).split(separator: " ")
    var queue = registers
    queue.byOffset[0x28] = 0x202a_000b
    queue.byOffset[0x30] = Evidence.number(line[1])
    queue.byOffset[0x34] = Evidence.number(line[3])
    queue.byOffset[0x4c] = 0x10003
    #expect(FaultQueue(queue)?.state == "every fault was read")
  }

  @Test func faultsInTracesAreThoseOfTheAccessesBesideThem() throws {
    for (file, faults, code) in [("fault-trace.txt", 29, 13), ("msi-fault-trace.txt", 2, 15)] as [(String, Int, UInt16)]
    {
      var pending: FaultRecord?
      var count = 0
      for line in try Evidence.trace(file) {
        switch line {
        case .fault(let record):
          #expect(record.cause.code == code)
          pending = record
          count += 1
        case .dma(let requester, _, let iova, let target):
          #expect((target == GPA(0)) == (pending != nil))
          if let pending { #expect(pending.requester == requester && pending.address == iova) }
          pending = nil
        case .command: break
        }
      }
      #expect(count == faults)
    }
  }

  /// TR_RESPONSE of 10.0 has the page number where the page number << 10 belongs, and loses its low bits.
  @Test func theDebugInterfaceAgreesWithTheModelAsFarAsItsAnswersGo() throws {
    let memory = try SnapshotMemory(pages: Evidence.pages("main-pages.json"))
    let meta = try Evidence.Meta("main-meta.json")
    let requests = try #require(meta.tr_req)
    #expect(requests.count == 26)
    for request in requests {
      let iova = IOVA(try #require(Evidence.number(request.iova)))
      let response = try #require(Evidence.number(request.response))
      let translation = Self.device.translate(
        iova, access: request.NW == 1 ? .read : .readWrite, requester: Self.nic, registers: meta.values(),
        memory: memory)
      switch translation.result {
      case .translated(let target): #expect(response == target.rawValue >> 12 & ~0x3ff)
      case .refused(let cause): #expect(response == 1 | UInt64(cause?.code ?? 0) << 10)
      default: Issue.record("\(iova): \(translation.result)")
      }
    }
  }

  @Test func commandsAreWhatTheKernelMeant() throws {
    let commands = try Evidence.trace("main-trace.txt").compactMap { line in
      if case .command(let command) = line { return command } else { return nil }
    }
    #expect(
      commands.prefix(10).map(\.description) == [
        "IODIR.INVAL_DDT: forget all contexts", "IOTINVAL.VMA: forget all address spaces",
        "IOFENCE.C: wait for the commands before and for reads and writes",
        "IODIR.INVAL_DDT: forget the contexts of 0000:00:00.0", "IOTINVAL.VMA: forget address space 1",
        "IOFENCE.C: wait for the commands before and for reads and writes",
        "IODIR.INVAL_DDT: forget the contexts of 0000:00:01.0", "IOTINVAL.VMA: forget address space 2",
        "IOFENCE.C: wait for the commands before and for reads and writes",
        "IOTINVAL.VMA: forget 0xffefc000 of address space 2",
      ])
    #expect(commands.allSatisfy { if case .illegal = $0.operation { false } else { true } })
    let unmap = Command(0x1_0000_2401, 0x3ffb_f000)
    #expect(
      unmap.operation
        == .invalidateFirstStage(.init(guest: nil, addressSpace: 2, address: IOVA(0xffef_c000))))
    let tables = try SnapshotMemory(pages: Evidence.pages("main-pages.json"))
    let captured = try Evidence.Meta("main-meta.json").values()
    let tags = try #require(try Self.device.cacheTags(of: Self.nic, registers: captured, memory: tables))
    #expect(tags == CacheTags(addressSpace: 2, guest: nil))
    #expect(unmap.invalidates(IOVA(0xffef_c802), of: tags))
    #expect(!unmap.invalidates(IOVA(0xffef_d000), of: tags))

    // The queue as the machine was stopped: the last 32 commands, put where they were.
    let meta = try Evidence.Meta("main-meta.json")
    var pages: [GPA: [UInt8]] = [:]
    for entry in try #require(meta.cq_last_commands) {
      let words = try entry.map { try #require($0.bits) }
      Evidence.store(words[1], at: 0x80a6_0000 + words[0] * 16, in: &pages)
      Evidence.store(words[2], at: 0x80a6_0008 + words[0] * 16, in: &pages)
    }
    let queue = try #require(CommandQueue(meta.values()))
    #expect(queue.address == GPA(0x80a6_0000) && queue.capacity == 8192)
    #expect(queue.state == "every command was carried out")
    let done = try queue.done(in: SnapshotMemory(pages: pages), limit: 32)
    #expect(done == (0..<16).flatMap { _ in [unmap, Command(0x3002, 0)] })
    #expect(try queue.waiting(in: SnapshotMemory(pages: pages), limit: 32) == [])
  }

  @Test func theStockKernelsIdentityPassesAddressesThrough() throws {
    var (pages, words) = ([GPA: [UInt8]](), try Evidence.Meta("stock-identity-dc.json").context("0x8"))
    words.append(0)
    for (position, word) in words.enumerated() {
      Evidence.store(word, at: 0x9000_0200 + UInt64(position * 8), in: &pages)
    }
    let registers = RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: 0x9000_0000 >> 2 | 2])
    let memory = try SnapshotMemory(pages: pages)
    var lines = 0
    for case .dma(let requester, let access, let iova, let target) in try Evidence.trace("stock-identity-trace.txt") {
      let translation = Self.device.translate(
        iova, access: access, requester: requester, registers: registers, memory: memory)
      #expect(translation.result == .bypassed("fsc and iohgatp are Bare"))
      #expect(translation.target(of: iova) == target)
      lines += 1
    }
    #expect(lines == 37)
  }
}
