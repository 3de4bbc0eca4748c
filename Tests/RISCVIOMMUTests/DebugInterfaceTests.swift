import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// TR_REQ_IOVA, TR_REQ_CTL and TR_RESPONSE: what is written for a question, and what an answer says.
@Suite struct DebugInterfaceTests {
  private let qemu = RISCVIOMMUDevice().debugTranslator
  private let specification = RISCVIOMMUDevice(.specification).debugTranslator

  static let on: [UInt64: UInt64] = [0x0: 0x78_e2cf_0f10, 0x10: 0x2193_3404, 0x260: 0]

  @Test func whatIsWritten() throws {
    func words(_ request: DebugRequest) throws -> [UInt64] {
      try #require(qemu).writes(for: request).flatMap { [$0.offset, $0.value] }
    }
    var request = DebugRequest(requester: RequesterID(rawValue: 8), iova: IOVA(0xffff_e018))
    #expect(try words(request) == [0x258, 0xffff_e018, 0x260, 0x800_0000_0009])
    request.writes = true
    #expect(try words(request) == [0x258, 0xffff_e018, 0x260, 0x800_0000_0001])
    (request.writes, request.executes) = (false, true)
    #expect(try words(request) == [0x258, 0xffff_e018, 0x260, 0x800_0000_000d])
    (request.process, request.isPrivileged) = (0xf_ffff, true)
    #expect(try words(request) == [0x258, 0xffff_e018, 0x260, 0x801_ffff_f00f])
    #expect(request.words == "read for execute for process 1048575, privileged")
    request.process = 0x10_0000
    #expect(throws: TargetError("A process id has 20 bits, not 0x100000.")) { try words(request) }
    request.process = nil
    #expect(throws: TargetError("Only an access for a process can be privileged: name one with -process.")) {
      try words(request)
    }
    #expect(throws: TargetError("A device id has 24 bits, not 0x1000000.")) {
      try words(DebugRequest(requester: RequesterID(rawValue: 1 << 24), iova: IOVA(0)))
    }
  }

  @Test(
    arguments: [
      ([:], nil), ([0x0: 0x78_62cf_0f10], "it has no debug translation: DBG, bit 31 of CAPABILITIES, is 0."),
      (
        [0x10: 0],
        "it is off (DDTP is 0x0): every access is refused, and there is nothing to translate by."
      ),
      ([0x10: 1], nil),
      ([0x260: 0x800_0000_0009], "somebody else's request is under way (TR_REQ_CTL is 0x80000000009)."),
    ] as [([UInt64: UInt64], String?)])
  func whatStandsAgainstIt(_ changes: [UInt64: UInt64], _ text: String?) throws {
    let values = RegisterValues(byOffset: Self.on.merging(changes) { $1 })
    #expect(try #require(qemu).obstacle(values) == text)
    #expect(try #require(qemu).obstacle(RegisterValues()) == "CAPABILITIES and DDTP could not be read.")
  }

  /// Section 5.26, and what QEMU 10.0 makes of it: captured from its registers.
  @Test(
    arguments: [
      // A page; superpages of 2 MiB, 128 KiB and 512 KiB, whose page numbers end in a zero and 8, 4 and 6 ones.
      (0x2200_0400, "in 0x88001000-0x88001fff", "in 0x22000400000-0x220007fffff"),
      (0x220b_fe00, "in 0x88200000-0x883fffff", nil), (0x2208_3e00, "in 0x88200000-0x8821ffff", nil),
      (0x2208_fe00, "in 0x88200000-0x8827ffff", nil),
      (0x2200_0401, "refused", nil), (0xffff_ffff_ffff_fe00, "in 0x0-0xffffffffffffff", nil),
      (0x3401, "refused", "refused: cause 13 (read page fault)"),
      (0x4_0001, "refused", "refused: cause 256 (all inbound transactions disallowed)"),
      (0x8_8000, "in 0x220000-0x220fff", "in 0x88000000-0x883fffff"),
      (0x8_8400, "in 0x221000-0x221fff", "in 0x88400000-0x887fffff"), (0, "in 0x0-0xfff", "in 0x0-0x3fffff"),
    ] as [(UInt64, String, String?)])
  func whatAnswersSay(_ value: UInt64, _ bySpecification: String, _ byQEMU: String?) throws {
    let exact = try #require(specification).answer(value)
    #expect(exact.result.words == bySpecification)
    #expect(exact.deviations.isEmpty && exact.value == value)
    guard let byQEMU else { return }
    let answer = try #require(qemu).answer(value)
    #expect(answer.result.words == byQEMU)
    #expect(
      answer.deviations
        == [value & 1 == 1 ? Quirk.responseNamesCause.summary : Quirk.responseLosesBits.summary])
  }

  @Test func whatFits() {
    func translation(_ result: DeviceTranslation.Result) -> DeviceTranslation {
      DeviceTranslation(words: [], steps: [], result: result, latched: nil, deviations: [])
    }
    func fits(_ answer: DebugAnswer.Result, _ result: DeviceTranslation.Result) -> Bool? {
      DebugAnswer(value: 0, result: answer, deviations: []).fits(translation(result), of: IOVA(0x5018))
    }
    let page = DebugAnswer.Result.translated(GPA(0x1000)...GPA(0x1fff))
    #expect(fits(page, .translated(GPA(0x1018))) == true && fits(page, .translated(GPA(0x2018))) == false)
    #expect(fits(page, .refused(nil)) == false && fits(.refused(nil), .translated(GPA(0x1018))) == false)
    #expect(fits(.refused(nil), .refused(RISCVIOMMUFault.off)) == true)
    #expect(fits(page, .bypassed("DDTP is Bare")) == false)
    #expect(fits(.translated(GPA(0x5000)...GPA(0x5fff)), .bypassed("DDTP is Bare")) == true)
    #expect(fits(page, .unreadable(UnreadableMemory(address: GPA(0), reason: "gone"))) == nil)
  }

  /// FQT wraps where the queue does.
  @Test func howManyFaultsWereReported() throws {
    func values(_ tail: UInt64?) -> RegisterValues {
      RegisterValues(byOffset: tail.map { [0x28: 0x2117_7806, 0x34: $0] } ?? [0x28: 0x2117_7806])
    }
    let translator = try #require(qemu)
    #expect(translator.reported(before: values(6), after: values(7)) == 1)
    #expect(translator.reported(before: values(127), after: values(1)) == 2)
    #expect(translator.reported(before: values(6), after: values(6)) == 0)
    #expect(translator.reported(before: values(nil), after: values(6)) == nil)
  }
}
