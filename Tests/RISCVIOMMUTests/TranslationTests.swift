import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// One case each of what a context and a translation come to, in the words that people read.
@Suite struct TranslationTests {
  /// Device 8 in a directory of one level with contexts of 64 bytes at 0x90000000; an Sv39 table of one path at 0x80000000,
  /// whose leaf at 0x80002000 sends 0 to 0xc0000000; a second stage at 0xa0000000 that maps it and 0xc0000000 to themselves.
  struct Setting {
    let memory = WordMemory()
    var capabilities: UInt64 = 0x78_e2cf_0f10
    var features: UInt64 = 0
    var directory: UInt64 = 0x9000_0000 >> 2 | 2
    var words: [UInt64] = [1, 0, 0, 8 << 60 | 0x8_0000, 0, 0, 0, 0]
    var leaf: UInt64 = 0xc000_0000 >> 2 | 0xdf

    var registers: RegisterValues {
      RegisterValues(byOffset: [0: capabilities, 8: features, 0x10: directory])
    }

    func store() {
      for (position, word) in words.enumerated() { memory[0x9000_0200 + UInt64(position) * 8] = word }
      memory[0x8000_0000] = 0x8000_1000 >> 2 | 1
      memory[0x8000_1000] = 0x8000_2000 >> 2 | 1
      memory[0x8000_2000] = leaf
      var second = TableBuilder(memory: memory, isBig: false)
      second.root = 0xa000_0000
      for page in [0x8000_0000, 0x8000_1000, 0x8000_2000, 0xc000_0000] as [UInt64] {
        second.map(page, page, flags: 0xdf)
      }
    }

    func translate(
      _ implementation: Implementation = .specification, _ access: Access = .read, iova: UInt64 = 0x123,
      _ change: (inout Transaction) -> Void = { _ in }
    ) -> DeviceTranslation {
      store()
      var transaction = Transaction(requester: RequesterID(rawValue: 8), iova: IOVA(iova), access: access)
      change(&transaction)
      return RISCVIOMMUDevice(implementation).translate(transaction, registers: registers, memory: memory)
    }

    func context() throws -> DeviceContext.Translation {
      store()
      return try RISCVIOMMUDevice().context(
        of: RequesterID(rawValue: 8), registers: registers, memory: memory
      ).translation
    }
  }

  private static func refused(_ code: UInt16) -> DeviceTranslation.Result { .refused(RISCVIOMMUFault.cause(code)) }

  /// A context that is refused, and why.
  struct Refusal {
    let text: String
    let change: (inout Setting) -> Void

    init(_ text: String, _ change: @escaping (inout Setting) -> Void) { (self.text, self.change) = (text, change) }
  }

  static var refusals: [Refusal] {
    var list: [Refusal] = []
    func add(_ text: String, _ change: @escaping (inout Setting) -> Void) { list.append(Refusal(text, change)) }
    add("cause 256 (all inbound transactions disallowed): DDTP is Off") {
      $0.directory = 0
    }
    add("cause 259 (DDT entry misconfigured): DDTP mode 5 is reserved") {
      $0.directory = 5
    }
    add("cause 258 (DDT entry not valid)") {
      $0.words[0] = 0
    }
    add("cause 259 (DDT entry misconfigured): reserved bits in tc") {
      $0.words[0] |= 1 << 12
    }
    add("cause 259 (DDT entry misconfigured): reserved bits in ta") {
      $0.words[2] |= 1
    }
    add("cause 259 (DDT entry misconfigured): reserved bits in fsc") {
      $0.words[3] |= 1 << 44
    }
    add("cause 259 (DDT entry misconfigured): reserved bits in msiptp") {
      $0.words[4] |= 1 << 44
    }
    add("cause 259 (DDT entry misconfigured): msiptp mode 2 is reserved") {
      $0.words[4] |= 2 << 60
    }
    add("cause 259 (DDT entry misconfigured): reserved bits in msi_addr_mask or msi_addr_pattern") {
      $0.words[6] |= 1 << 52
    }
    add("cause 259 (DDT entry misconfigured): the reserved doubleword is not 0") {
      $0.words[7] = 1
    }
    add("cause 259 (DDT entry misconfigured): EN_ATS, EN_PRI or PRPR without CAPABILITIES.ATS") {
      $0.words[0] = 3
      $0.capabilities = 0x78_e0cf_0f10
    }
    add("cause 259 (DDT entry misconfigured): T2GPA or EN_PRI without EN_ATS") {
      $0.words[0] = 9
    }
    add("cause 259 (DDT entry misconfigured): PRPR without EN_PRI") {
      $0.words[0] = 0x43
    }
    add("cause 259 (DDT entry misconfigured): T2GPA without CAPABILITIES.T2GPA") {
      $0.words[0] = 0xb
    }
    add("cause 259 (DDT entry misconfigured): T2GPA without a second stage") {
      $0.words[0] = 0xb
      $0.capabilities = 0x78_e6cf_0f10
    }
    add("cause 259 (DDT entry misconfigured): DPE without PDTV") {
      $0.words[0] = 0x201
    }
    add("cause 259 (DDT entry misconfigured): SADE or GADE without CAPABILITIES.AMO_HWAD") {
      $0.words[0] = 0x101
    }
    add("cause 259 (DDT entry misconfigured): SBE is not FCTL.BE") {
      $0.words[0] = 0x401
    }
    add("cause 259 (DDT entry misconfigured): SXL is 0 with FCTL.GXL 1") {
      $0.features = 4
    }
    add("cause 259 (DDT entry misconfigured): first-stage mode 7 is reserved") {
      $0.words[3] = 7 << 60
    }
    add("cause 259 (DDT entry misconfigured): first-stage mode 9 is reserved with SXL") {
      $0.words[0] = 0x801
      $0.words[3] = 9 << 60
    }
    add("cause 259 (DDT entry misconfigured): Sv39 is not supported") {
      $0.capabilities = 0x78_e2cf_0c10
    }
    add("cause 259 (DDT entry misconfigured): process directory mode 2 is not supported") {
      $0.words[0] = 0x21
      $0.words[3] = 2 << 60
    }
    add("cause 259 (DDT entry misconfigured): second-stage mode 7 is reserved") {
      $0.words[1] = 7 << 60
    }
    add("cause 259 (DDT entry misconfigured): Sv39x4 is not supported") {
      $0.words[1] = 8 << 60
      $0.capabilities = 0x78_e2c0_0f10
    }
    add("cause 259 (DDT entry misconfigured): the second stage's root is not aligned to 16 KiB") {
      $0.words[1] = 8 << 60 | 1
    }
    add("cause 259 (DDT entry misconfigured): second-stage mode 9 is reserved with GXL") {
      $0.words[0] = 0x801
      $0.words[1] = 9 << 60
      $0.features = 4
    }
    add("cause 257 (DDT entry load access fault): 0x90000200 has more than 31 bits") {
      $0.capabilities = 0x1f_00cf_0f10 | 1 << 22
    }
    return list
  }

  @Test func refusedContexts() throws {
    for refusal in Self.refusals {
      var setting = Setting()
      refusal.change(&setting)
      #expect(try setting.context() == .refused(refusal.text))
    }
  }

  @Test func contextsThatTranslateOrPass() throws {
    var setting = Setting()
    let first = TableRoot(address: GPA(0x8000_0000), mode: .sv39)
    #expect(try setting.context() == .translated(firstStage: first, secondStage: nil))
    setting.words[1] = 8 << 60 | 0xa_0000
    let second = TableRoot(address: GPA(0xa000_0000), mode: .sv39x4)
    #expect(try setting.context() == .translated(firstStage: first, secondStage: second))
    setting.words[3] = 0
    #expect(try setting.context() == .translated(firstStage: nil, secondStage: second))
    setting.words[1] = 0
    #expect(try setting.context() == .bypassed("fsc and iohgatp are Bare"))
    setting.words[0] = 0x21
    #expect(try setting.context() == .bypassed("accesses without a process have no first stage (DPE is 0)"))
    setting.directory = 1
    #expect(try setting.context() == .bypassed("DDTP is Bare"))
    setting.directory = 2
    setting.features = 4
    setting.words[0] = 0x801
    setting.words[1] = 8 << 60
    setting.directory = Setting().directory
    #expect(
      throws: UnreadableMemory(address: GPA(0), reason: "Sv32x4 tables are not decoded", isUnrecorded: true)
    ) { try setting.context() }
    #expect(
      throws: UnreadableMemory(address: GPA(0x10), reason: "the register DDTP is not known", isUnrecorded: true)
    ) {
      try RISCVIOMMUDevice().context(
        of: RequesterID(rawValue: 8), registers: RegisterValues(), memory: setting.memory)
    }
  }

  /// What the specification and QEMU make of one setting, and the sentence for what they make of it otherwise.
  struct Difference {
    let access: Access
    let specified: String, done: String, sentence: String?
    let change: (inout Spoiled) -> Void
  }

  static var differences: [Difference] {
    var list: [Difference] = []
    func add(
      _ access: Access, _ specified: String, _ done: String, _ sentence: String?,
      _ change: @escaping (inout Spoiled) -> Void
    ) {
      list.append(Difference(access: access, specified: specified, done: done, sentence: sentence, change: change))
    }
    add(
      .read, "translated 0xc0000123", "translated 0xc0008123",
      "N in the leaf at level 0 is ignored: it sends all pages of its group to 0xc0008000, not each to its own"
    ) {
      $0.leaf = 0x8000_0000_0000_00df | 0xc000_8000 >> 2
    }
    add(
      .read, "cause 13", "translated 0xc0000123",
      "the entry at level 0 is used although malformed: N with low PPN bits 0x0"
    ) {
      $0.leaf |= 1 << 63
    }
    add(
      .read, "cause 13", "translated 0x1000000c0000123",
      "the entry at level 0 is used although malformed: reserved bits 0x40000000000000 set"
    ) {
      $0.leaf |= 1 << 54
    }
    add(
      .read, "cause 13", "translated 0xc0000123",
      "the entry at level 0 is used although it has a PBMT, which the device does not support"
    ) {
      $0.leaf |= 1 << 62
    }
    add(
      .read, "translated 0xc0000123", "translated 0x80000000c0000123",
      "PBMT in the entry at level 0 is ignored and becomes a bit of the address"
    ) {
      $0.leaf |= 1 << 61
      $0.capabilities |= 1 << 15
    }
    add(
      .read, "cause 13", "translated 0xc0000123",
      "U is not set in the leaf at level 0, which is not looked at"
    ) {
      $0.leaf &= ~0x10
    }
    add(
      .write, "cause 15", "translated 0xc0000123",
      "A is not set in the leaf at level 0, which is not looked at for this access"
    ) {
      $0.leaf &= ~0x40
    }
    add(
      .write, "cause 15", "cause 15",
      nil
    ) {
      $0.leaf &= ~0x80
    }
    add(
      .read, "cause 13", "cause 13",
      nil
    ) {
      $0.leaf &= ~0x40
    }
    add(
      .write, "cause 15", "cause 15",
      nil
    ) {
      $0.leaf = $0.leaf & ~0xf | 5
    }
    add(
      .read, "cause 13", "cause 13",
      nil
    ) {
      $0.leaf = $0.leaf & ~0xf | 1
    }
    add(
      .read, "cause 259", "translated 0xc0000123",
      "the device context is used although misconfigured: reserved bits in ta"
    ) {
      $0.words[2] |= 1
    }
    add(
      .read, "cause 259", "cause 258",
      "a reserved first-stage mode is taken for a context that is not valid"
    ) {
      $0.words[3] = 11 << 60
    }
    add(
      .read, "cause 258", "translated 0xc0000123",
      "FCTL.BE is not looked at: everything is read as little-endian"
    ) {
      $0.features = 1
    }
    add(
      .write, "translated 0xc0000123", "cause 23",
      "the second stage must allow an access to a first-stage table as if it were the access itself"
    ) {
      $0.words[1] = 8 << 60 | 0xa_0000
      $0.spoil = (0x8000_2000, 0xd3)
    }
    add(
      .read, "translated 0xc0000123", "cause 23",
      "the second stage must allow all that the first-stage leaf allows"
    ) {
      $0.words[1] = 8 << 60 | 0xa_0000
      $0.spoil = (0xc000_0000, 0xd3)
    }
    add(
      Access.none, "translated 0xc0000123", "cause 260",
      "an access that wants nothing is taken for an ATS request, which the device context does not allow"
    ) { _ in }
    return list
  }

  @Test func deviations() {
    for difference in Self.differences {
      var spoiled = Spoiled()
      difference.change(&spoiled)
      let specification = spoiled.translate(.specification, difference.access)
      let device = spoiled.translate(.qemu10, difference.access)
      #expect(Self.text(specification.result) == difference.specified)
      #expect(Self.text(device.result) == difference.done)
      #expect(specification.deviations == [])
      #expect(device.deviations == [difference.sentence].compactMap { $0 })
    }
  }

  /// A setting with one entry of the second stage changed: the page, and its flags.
  @dynamicMemberLookup struct Spoiled {
    var setting = Setting()
    var spoil: (UInt64, UInt64)?

    subscript<Value>(dynamicMember path: WritableKeyPath<Setting, Value>) -> Value {
      get { setting[keyPath: path] }
      set { setting[keyPath: path] = newValue }
    }

    func translate(_ implementation: Implementation, _ access: Access) -> DeviceTranslation {
      setting.store()
      if let spoil {
        var second = TableBuilder(memory: setting.memory, isBig: false)
        second.root = 0xa000_0000
        second.map(spoil.0, spoil.0, flags: spoil.1)
      }
      return RISCVIOMMUDevice(implementation).translate(
        IOVA(0x123), access: access, requester: RequesterID(rawValue: 8), registers: setting.registers,
        memory: setting.memory)
    }
  }

  private static func text(_ result: DeviceTranslation.Result) -> String {
    switch result {
    case .translated(let address): "translated \(address)"
    case .bypassed(let why): "bypassed: \(why)"
    case .refused(let cause): "cause \(cause?.code ?? 0)"
    case .unreadable(let failure): failure.description
    }
  }

  @Test func addressesBeyondTheDevicesReachFaultByTheKindOfAccess() {
    var setting = Setting()
    // 32 bits reach the directory, and not the leaf table.
    setting.capabilities = setting.capabilities & ~(0x3f << 32) | 32 << 32
    setting.store()
    setting.memory[0x8000_1000] = 1 << 30 | 1
    for (access, code) in [(.read, 5), (.write, 7), (.readWrite, 7)] as [(Access, UInt16)] {
      for implementation in [Implementation.specification, .qemu10] {
        let translation = RISCVIOMMUDevice(implementation).translate(
          IOVA(0), access: access, requester: RequesterID(rawValue: 8), registers: setting.registers,
          memory: setting.memory)
        #expect(translation.result == Self.refused(code))
        #expect(translation.steps.count == 2)
      }
    }
    let execute = RISCVIOMMUDevice(.specification).translate(
      Transaction(requester: RequesterID(rawValue: 8), iova: IOVA(0), access: .read, executes: true),
      registers: setting.registers, memory: setting.memory)
    #expect(execute.result == Self.refused(1))
  }

  @Test func aWordThatCannotBeReadIsNoFault() {
    let setting = Setting()
    for hole in [0x9000_0000, 0x8000_0000, 0x8000_1000, 0x8000_2000] as [UInt64] {
      setting.memory.holes = [hole]
      let found = setting.translate()
      let address = hole == 0x9000_0000 ? hole + 0x200 : hole
      #expect(found.result == .unreadable(UnreadableMemory(address: GPA(address), reason: "a hole")))
    }
  }

  @Test func requestersHaveAPlaceInTheDirectoryOrNone() {
    var setting = Setting()
    func id(_ value: UInt32) -> DeviceTranslation.Result {
      setting.translate { $0.requester = RequesterID(rawValue: value) }.result
    }
    // One level of 64-byte contexts is for 6 bits.
    #expect(id(9) == Self.refused(258) && id(63) == Self.refused(258) && id(64) == Self.refused(260))
    setting.capabilities &= ~(1 << 22)
    #expect(id(127) == Self.refused(258) && id(128) == Self.refused(260))
  }

  @Test func cachesKnowTranslationsByTheirContexts() throws {
    var setting = Setting()
    func tags() throws -> CacheTags? {
      setting.store()
      return try RISCVIOMMUDevice().cacheTags(
        of: RequesterID(rawValue: 8), registers: setting.registers, memory: setting.memory)
    }
    setting.words[2] = 5 << 12
    #expect(try tags() == CacheTags(addressSpace: 5, guest: nil))
    setting.words[1] = 8 << 60 | 7 << 44 | 0xa_0000
    #expect(try tags() == CacheTags(addressSpace: 5, guest: 7))
    setting.words[3] = 0
    #expect(try tags() == CacheTags(addressSpace: nil, guest: 7))
    setting.words[1] = 0
    #expect(try tags() == nil)
    setting.words[0] = 0
    #expect(try tags() == nil)
    // A default process has an address space of its own.
    (setting.words[0], setting.words[3]) = (0x221, 1 << 60 | 0x9_1000)
    setting.memory[0x9_1000 << 12] = 9 << 12 | 1
    setting.memory[0x9_1000 << 12 | 8] = 8 << 60 | 0x8_0000
    #expect(try tags() == CacheTags(addressSpace: 9, guest: nil))
  }

  @Test func faultsAreReportedUnlessHeldBack() throws {
    var setting = Setting()
    func reports(_ code: UInt16, control: UInt64? = 0x10003, base: UInt64? = 0) throws -> Bool? {
      setting.store()
      var registers = setting.registers
      registers.byOffset.merge([0x30: 0, 0x34: 0]) { $1 }
      (registers.byOffset[0x28], registers.byOffset[0x4c]) = (base, control)
      return try RISCVIOMMUDevice().reports(
        RISCVIOMMUFault.cause(code), of: RequesterID(rawValue: 8), registers: registers, memory: setting.memory)
    }
    #expect(try reports(13) == true && reports(13, base: nil) == nil)
    #expect(try reports(13, control: 3) == false && reports(258, control: 0x10103) == false)
    #expect(try reports(13, control: 0x10203) == false && reports(13, control: nil) == false)
    setting.words[0] |= 1 << 4
    #expect(try reports(13) == false && reports(260) == false && reports(259) == true && reports(273) == true)
    // No context, no DTF.
    setting.words[0] = 0x10
    #expect(try reports(13) == true)
    setting.directory = 0
    #expect(try reports(256) == true && reports(13) == true)
  }

  /// Interrupt files of a guest at 0x28000000 to 0x28007000; in two stages the first sends 0 there.
  @Test func messagesGoToInterruptFiles() {
    var setting = Setting()
    setting.words[3] = 0
    setting.words[4] = 1 << 60 | 0xb_0000
    setting.words[5] = 5
    setting.words[6] = 0x2_8000
    let memory = setting.memory
    func entry(_ file: UInt64, _ first: UInt64, _ second: UInt64 = 0) {
      memory[0xb000_0000 + file * 16] = first
      memory[0xb000_0008 + file * 16] = second
    }
    func at(_ page: UInt64, _ access: Access = .write, _ model: Implementation = .specification) -> String {
      Self.text(setting.translate(model, access, iova: 0x2800_0000 + page * 4096 + 0xc).result)
    }
    entry(0, 0xd000_0000 >> 2 | 7)
    entry(1, 0xd000_0200 >> 2 | 3, 0xe000_0000 >> 2 | 1 << 60 | 5)
    entry(2, 0)
    entry(3, 0xd000_0000 >> 2 | 5)
    // Bits 0 and 2 of the page number are the file's number; bit 1 must be 0.
    #expect(at(0) == "translated 0xd000000c")
    #expect(at(1) == "translated 0xd0000200")
    #expect(at(4) == "cause 262" && at(5) == "cause 263")
    #expect(at(2) == "bypassed: fsc and iohgatp are Bare")
    #expect(at(0, .read) == "translated 0xd000000c")
    #expect(at(0, .read, .qemu10) == "bypassed: fsc and iohgatp are Bare")
    #expect(
      setting.translate(.qemu10, .read, iova: 0x2800_0000).deviations
        == ["a read of an interrupt file is not redirected"])
    entry(0, 0xd000_0000 >> 2 | 7 | 8)
    #expect(at(0) == "cause 263" && at(0, .write, .qemu10) == "translated 0xd000000c")
    #expect(
      setting.translate(.qemu10, .write, iova: 0x2800_0000).deviations
        == ["the MSI PTE is used although misconfigured"])
    entry(0, 1 << 63 | 7)
    #expect(at(0).hasSuffix("an MSI PTE of the device's own format.") && at(0, .write, .qemu10) == "cause 262")
    setting.words[4] = 0
    #expect(at(0) == "bypassed: fsc and iohgatp are Bare")
    let memoryFile = MessageTable.Entry(
      0xd000_0200 >> 2 | 3, 0xe000_0000 >> 2 | 1 << 60 | 5, allowsMemoryFiles: true, checksReserved: true)
    #expect(memoryFile == .memoryFile(GPA(0xd000_0200), notice: GPA(0xe000_0000), identity: 0x405))
  }
}
