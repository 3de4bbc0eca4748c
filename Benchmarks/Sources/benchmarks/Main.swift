import Foundation
import Images
import Investigation

/// The goals that can be measured without a guest.
@main struct Benchmarks {
  static func main() throws {
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch arguments.first {
    case "rows":
      let extent: Extent = arguments.contains("--short") ? .short : .full
      for rows in [Dumps.rows, Events.rows] { for row in try rows(extent) { say(row.line) } }
    case "growth": try Growth.points { say($0) }
    case "store": try Events.store(Array(arguments.dropFirst()))
    case "measure": try measure(Array(arguments.dropFirst()))
    default:
      throw InvestigationError("usage: benchmarks rows [--short] | growth | store FILE CALLS ROOT-SHIFT")
    }
  }

  /// What a process of its own measures for a row.
  private static func measure(_ arguments: [String]) throws {
    let words = arguments + ["", "", ""]
    switch words[0] {
    case "dump":
      guard let shape = Image.Shape(rawValue: words[1]), let log2 = Int(words[2]), 9...24 ~= log2 else { break }
      return try Dumps.measure(shape, leavesLog2: log2)
    case "peer":
      guard let log2 = Int(words[2]), 9...24 ~= log2 else { break }
      return try Dumps.measurePeer(words[1], leavesLog2: log2)
    case "bulk", "verifications", "single":
      guard let count = Int(words[1]), count > 0 else { break }
      return try Events.measureStore(words[0], count: count)
    case "check": return try Events.measureCheck(words[1])
    case "markdown": return try Events.measureMarkdown(words[1])
    default: break
    }
    throw InvestigationError("Nothing is called \(arguments.joined(separator: " ")).")
  }

  /// A line at once, so that a long run shows where it is.
  private static func say(_ line: String) {
    print(line)
    fflush(nil)
  }
}
