import IOMMUModel
import Investigation
import PageTables

/// Columns padded to the widest cell; a row's last cell as it is, over the columns behind it where the row is short. Where a
/// table is wider than ``Layout/width``, cells have several lines.
func aligned(_ rows: [[String]], indent: String = "  ", gap: String = "  ") -> [String] {
  let rows = rows.map { $0.map(printable) }
  let widths = Layout.columns(of: rows, indent: indent.count, gap: gap.count)
  return rows.flatMap { row -> [String] in
    var start = indent.count
    let cells = row.enumerated().map { column, cell in
      defer { start += widths[column] + gap.count }
      return Layout.wrapped(cell, width: column == row.count - 1 ? Layout.room(after: start) : widths[column])
    }
    return (0..<(cells.map(\.count).max() ?? 0)).map { number in
      var line = indent
      for (column, lines) in cells.enumerated() {
        let text = lines.indices.contains(number) ? lines[number] : ""
        line += text
        if column < cells.count - 1 { line += String(repeating: " ", count: max(0, widths[column] - text.count)) + gap }
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// `text` padded with spaces on the left.
func right(_ text: some CustomStringConvertible, _ width: Int) -> String {
  let text = text.description
  return String(repeating: " ", count: max(0, width - text.count)) + text
}

/// `1 call`, `2 calls`, `2 accesses`.
func counted(_ count: Int, _ noun: String) -> String {
  "\(count) \(noun)\(count == 1 ? "" : noun.hasSuffix("s") ? "es" : "s")"
}

/// The range's first and last byte.
func range(_ first: IOVA, _ length: UInt64) -> String { "\(first)-\(first + (length &- 1))" }

extension Walk.Step {
  /// Level, index, address, value and meaning, as cells of a table.
  var cells: [String] {
    ["level \(level) [\(right(index, 3))]", "\(entryAddress) = \(hex(entry.rawValue))", meaning]
  }

  /// What the entry says at its level.
  var meaning: String { entry.meaning(atLevel: level) }
}

extension PageTableEntry {
  /// What it says in a table of this level.
  func meaning(atLevel level: Int) -> String {
    guard isValid else { return rawValue == 0 ? "not valid" : "not valid (V is 0)" }
    if let problem = problem(atLevel: level) { return "malformed: \(problem.description)" }
    if isPointer { return "table \(address)" }
    // The page number's low bits are no part of a group's address (Svnapot, table 5.1).
    if isContiguous { return "\(flags.description) N -> 64 KiB at \(GPA(address.rawValue & ~0xffff))" }
    return "\(flags.description) -> \(address)"
  }
}

/// What a walk came to, in words.
func words(_ outcome: Walk.Outcome) -> String {
  switch outcome {
  case .mapped(let target, let bytes, let flags): "maps to \(target) (\(size(bytes)) leaf, \(flags.description))"
  case .notMapped(let level): "not mapped: the entry at level \(level) is not valid"
  case .malformed(let level, let problem): "malformed at level \(level): \(problem.description)"
  case .unreadable(let failure): failure.description
  case .notCanonical: "not canonical: the bits above the mode's input do not follow the specification"
  }
}

extension DeviceTranslation {
  /// What the device does, in words.
  var outcome: String {
    switch result {
    case .translated(let target): "goes to \(target)"
    case .bypassed(let why): "passes through untranslated: \(why)"
    case .refused(let cause?): "faults: cause \(cause)"
    case .refused(nil): "fails without a cause"
    case .unreadable(let failure): failure.description
    }
  }
}

extension CrossCheck.Line {
  /// The device's verdict with its cause.
  var deviceDescription: String {
    switch (device, cause) {
    case (.latchedFault, _), (_, nil): device.description
    case (.deviceDiffers(let how), let cause?): "\(how), cause \(cause)"
    case (_, let cause?): "\(device.description), cause \(cause)"
    }
  }
}

/// Names who is behind a call.
enum RecordedCallHeader {
  /// `xt_iommu_map <- e1000_alloc_ring_dma`: the first caller above the DMA layer.
  static func chain(_ function: String, callers: [String]) -> String {
    callers.first { !isLayer($0, of: function) }.map { "\(function) <- \($0)" } ?? function
  }

  /// Whether a function is of the DMA and IOMMU layers or of the driver whose `function` it is, which every call goes through
  /// and nobody asks about.
  private static func isLayer(_ caller: String, of function: String) -> Bool {
    let name = caller.drop { $0 == "_" }
    let driver = function.firstRange(of: "_iommu_").map { function[..<$0.upperBound] }
    return ["dma_", "iommu_"].contains(where: name.hasPrefix) || driver.map(name.hasPrefix) == true
  }
}
