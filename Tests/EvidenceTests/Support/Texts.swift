import Foundation
import IOMMUModel
import Investigation
import LinuxKernel
import PageTables
import Simulation
import Testing
import XuanTie

@testable import Evidence

/// What the tests read texts with.
enum Texts {
  static let profiles = XuanTie.profiles
  static let reader = EvidenceReader(profiles: profiles)

  /// The folder of the fixtures, with a slash at its end.
  static let fixtures =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures").path + "/"

  static func fixture(_ name: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: fixtures + name)))
  }

  /// Compares an answer with a fixture; with `IOMMULENS_WRITE_FIXTURES` set it writes the fixture instead, to be read through.
  static func expect(_ answer: String, isFixture name: String) throws {
    if ProcessInfo.processInfo.environment["IOMMULENS_WRITE_FIXTURES"] != nil {
      try answer.write(toFile: fixtures + name, atomically: true, encoding: .utf8)
    }
    #expect(answer == String(decoding: try fixture(name), as: UTF8.self))
  }

  static func read(_ text: String) -> Extraction { reader.read(Array(text.utf8), name: "text") }

  static func read(fixture name: String) throws -> Extraction { reader.read(try fixture(name), name: name) }
}

extension Extraction {
  var calls: [RecordedCall] {
    findings.compactMap { if case .call(let call, _) = $0.evidence { call } else { nil } }
  }

  var translations: [RecordedTranslation] {
    findings.flatMap { finding -> [RecordedTranslation] in
      if case .translations(let runs) = finding.evidence { runs } else { [] }
    }
  }

  var logs: [LogLine] { findings.compactMap { if case .log(let line) = $0.evidence { line } else { nil } } }

  var registers: [RegisterValues] {
    findings.compactMap { if case .registers(let values) = $0.evidence { values } else { nil } }
  }

  var cookies: [CookieRequest] {
    findings.compactMap { if case .cookie(let request) = $0.evidence { request } else { nil } }
  }

  var configurations: [KernelConfiguration] {
    findings.compactMap { if case .configuration(let found) = $0.evidence { found } else { nil } }
  }

  var facts: [String: String] {
    findings.reduce(into: [:]) { facts, finding in
      if case .fact(let name, let value) = finding.evidence { facts[name] = value }
    }
  }

  /// Whether every line is accounted for once: read, refused, or counted as telling nothing.
  var isComplete: Bool {
    var accounted = Set<Int>()
    for finding in findings { accounted.formUnion(finding.lines) }
    for refusal in refusals { accounted.formUnion(refusal.lines) }
    return accounted.count + noise.values.reduce(0, +) == lineCount
      && accounted.allSatisfy { 0 < $0 && $0 <= lineCount }
  }
}
