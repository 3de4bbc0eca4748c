import IOMMUModel
import Investigation
import PageTables
import Testing
import XuanTie

@testable import Reports

/// How many rows a reader gets of a device that does the same wrong over and over.
@Suite struct TranslationGroupsTests {
  private func run(
    _ iova: UInt64, count: UInt64 = 1, stride: UInt64 = 0, requester: UInt32 = 8
  ) -> RecordedTranslation {
    // Answered with its own address.
    RecordedTranslation(
      requester: RequesterID(rawValue: requester), iova: IOVA(iova), count: count, stride: stride, access: .read,
      answer: RecordedTranslation.Answer(address: GPA(iova), mask: 0xfff, access: .read))
  }

  private func told(_ runs: RecordedTranslation...) -> [String] {
    let check = TranslationCheck(runs, calls: [], device: XuanTieDevice())
    return check.groups.map { "\($0.range) \($0.extent) \($0.runs) \($0.translations)" }
  }

  @Test func aPageIsOneRow() {
    #expect(
      told(run(0x5190), run(0x5194), run(0x5198, count: 4, stride: 16), run(0x5100))
        == ["0x5100-0x51c8 7 translations in 4 runs 4 7"])
    #expect(told(run(0x5ffc), run(0x6000)) == ["0x5ffc 1 translation 1 1", "0x6000 1 translation 1 1"])
    #expect(told(run(0x5000), run(0x5000, requester: 16)).count == 2)
  }

  /// Where a row begins is what its other columns are about, whichever run came first.
  @Test func theLowestAddressSpeaksForThePage() {
    let check = TranslationCheck([run(0x5190), run(0x5010), run(0x5194)], calls: [], device: XuanTieDevice())
    #expect(check.groups.map(\.line.translation.iova) == [IOVA(0x5010)])
  }

  @Test func aRepetitionIsSaidToBeOne() {
    #expect(told(run(0x5000)) == ["0x5000 1 translation 1 1"])
    #expect(told(run(0x5000, count: 16, stride: 1)) == ["0x5000 16 in steps of 1 1 16"])
    let same = run(0x5000, count: 16, stride: 1)
    #expect(told(same, same, same) == ["0x5000 16 in steps of 1, 3 times 3 48"])
  }

  /// Runs of a damaged file.
  @Test func countsThatNoDeviceReaches() {
    let huge = run(0x5000, count: .max, stride: .max)
    #expect(told(huge, huge).count == 1)
  }

  @Test func asTheCommandPrintsIt() {
    let check = TranslationCheck(
      [run(0x5190), run(0x5194), run(0x7000, count: 2, stride: 16)], calls: [], device: XuanTieDevice())
    #expect(
      Terminal.translations(check, limit: 10) == """
        0x5190-0x5194  2 translations in 2 runs  no map call  bypassed: answered with its own address
        0x7000         2 in steps of 16          no map call  bypassed: answered with its own address
        3 runs of translations: 3 bypassed: answered with its own address.
        """)
  }
}
