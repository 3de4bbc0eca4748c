import IOMMUModel
import Investigation
import PageTables

/// Reads the kernel's trace points of `iommu` as ftrace and perf print them (Linux `include/trace/events/iommu.h`).
///
/// A map or unmap of the core becomes a call of the function `iommu:map` or `iommu:unmap`: neither domain nor protection
/// is in the trace, so the one is 0 and the other is not known; nothing is concluded from such a call about a table.
struct TraceReader: LineReader {
  /// The text's name.
  let name: String

  func read(at start: Int, of text: TextLines) -> Reading? {
    let line = text[start]
    guard let payload = line.position(of: ": IOMMU:") else { return nil }
    let before = line[..<payload]
    let event = before.reversed().prefix { $0.isIdentifier }.reversed()[...].text
    guard Self.events.contains(event) else { return nil }
    let lines = text.numbers(start..<start + 1)
    var scanner = Scanner(line[(payload + 2)...])
    _ = scanner.take("IOMMU:")
    scanner.skipSpaces()
    let time = time(before)
    func log(_ meaning: LogLine.Meaning) -> Reading {
      let said = "\(event): \(scanner.rest.prefix(512).trimmed.text)"
      return Reading(
        end: start + 1,
        [
          Finding(
            lines: lines,
            evidence: .log(
              LogLine(origin: name, line: text.number(start), time: time, text: said, meaning: meaning)))
        ])
    }
    switch event {
    case "io_page_fault": return log(.fault)
    case "add_device_to_group": return log(.groupAdded)
    case "map", "unmap":
      guard let call = Self.call(event, scanner.rest) else {
        return Reading(
          refusing: start..<start + 1, "It is a trace of iommu:\(event), but not in a form known here.", in: text)
      }
      let recorded = RecordedCall(
        number: 0, call: call, root: nil, requester: nil, origin: "\(name):\(text.number(start))")
      return Reading(end: start + 1, [Finding(lines: lines, evidence: .call(recorded, profile: nil))])
    default: return log(.other)
    }
  }

  private static let events: Set<String> = [
    "map", "unmap", "io_page_fault", "add_device_to_group", "remove_device_from_group", "attach_device_to_domain",
    "detach_device_from_domain",
  ]

  /// `iova=0x… - 0x… paddr=0x… size=4096`; before Linux 5.16 without the range's end.
  private static func call(_ event: String, _ text: ArraySlice<UInt8>) -> DriverCall? {
    guard let iova = field("iova", text), let size = field("size", text) else { return nil }
    var scanner = Scanner(text)
    if scanner.skip(past: " - ") {
      guard let end = scanner.number(), end == iova &+ size else { return nil }
    }
    let operation: DriverCall.Operation
    if event == "map" {
      guard let target = field("paddr", text) else { return nil }
      operation = .map(target: GPA(target), protection: nil, allocation: nil)
    } else {
      operation = .unmap
    }
    return DriverCall(
      function: "iommu:\(event)", operation: operation, domain: KVA(0), iova: IOVA(iova), length: size)
  }

  private static func field(_ name: String, _ text: ArraySlice<UInt8>) -> UInt64? {
    for word in text.split(whereSeparator: \.isSpace) {
      var scanner = Scanner(word)
      if scanner.take("\(name)="), let value = scanner.number(), scanner.isAtEnd { return value }
    }
    return nil
  }

  /// `123.456789` of `task-1 [000] ..... 123.456789: map`, in nanoseconds.
  private func time(_ before: ArraySlice<UInt8>) -> UInt64? {
    for word in before.split(whereSeparator: \.isSpace).reversed() where word.last == 0x3a {
      var scanner = Scanner(word)
      if let time = KernelLine.seconds(&scanner), scanner.take(":"), scanner.isAtEnd { return time }
    }
    return nil
  }
}
