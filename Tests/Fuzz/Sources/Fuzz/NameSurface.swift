import Foundation
import Investigation

/// The input as what people and kernels call things, in every kind of report.
struct NameSurface: Surface {
  private let recorded: RecordedFile

  init() throws { recorded = try RecordedFile() }

  func feed(_ input: inout Input) throws {
    try recorded.restore(recorded.bytes)
    let store = try recorded.open()
    let export = input.below(9)
    var texts: [String] = []
    while !input.isEmpty && texts.count < 6 {
      texts.append(String(decoding: input.take(1 + input.below(64)), as: UTF8.self))
    }
    for text in texts {
      try store.append(note: text)
      if let call = try store.lastCall()?.id { try store.add(callers: [text], to: call) }
    }
    for (name, text) in zip([Fact.banner, Fact.source, Fact.debugger, Fact.emulator], texts) {
      try store.setFact(name, text)
    }
    let findings = try recorded.findings(store)
    let json = try recorded.write(findings, store, "json")
    require((try? JSONSerialization.jsonObject(with: Data(json.utf8))) != nil, "a report in JSON can be read")
    for text in [json, try recorded.write(findings, store, "md")] {
      require(
        text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) },
        "a report has no control characters")
    }
    try recorded.readAll(store, export: export)
  }
}
