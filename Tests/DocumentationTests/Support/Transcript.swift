import Foundation

/// What somebody typed and read, taken from the `console` blocks of a document.
///
/// A line that begins with a prompt was typed: `$ ` to a shell, `(gdb) ` to the GDB that the shell command above started,
/// `>>> ` to a Python; a line `...` below goes on with what was typed to a Python. The lines below are what was printed.
/// A block that begins with `(gdb) ` or `>>> ` goes on with the program of the block before it. In what was printed, `…`
/// stands for what differs from run to run: alone on a line for any lines, within a line for some characters.
struct Transcript: Sendable {
  enum Prompt: String, CaseIterable, Sendable {
    case shell = "$ "
    case gdb = "(gdb) "
    case python = ">>> "
  }

  /// A line that was typed, and what was printed after it.
  struct Step: Sendable {
    let prompt: Prompt
    let command: String
    /// The lines in the document that show what was printed, counted from 0.
    let range: Range<Int>
    let printed: [String]
  }

  let steps: [Step]

  /// The steps of the document's blocks that a machine can play: those with `lab` behind `console` need the lab.
  init(of document: Document, needingLab: Bool = false) throws {
    let words = needingLab ? ["console", "lab"] : ["console"]
    var steps: [Step] = []
    for block in document.blocks where block.words == words {
      var prompts = block.range.filter { Self.typed(document.lines[$0]) != nil }
      guard prompts.first == block.range.lowerBound else {
        throw Failure("\(document.path):\(block.range.lowerBound + 1): a console block must begin with what was typed.")
      }
      prompts.append(block.range.upperBound)
      for (line, next) in zip(prompts, prompts.dropFirst()) {
        guard let (prompt, start) = Self.typed(document.lines[line]) else { continue }
        var command = start
        var range = line + 1..<next
        while prompt == .python, let more = document.lines[range].first, more.hasPrefix("...") {
          command += "\n" + more.dropFirst(4)
          range = range.dropFirst()
        }
        steps.append(Step(prompt: prompt, command: command, range: range, printed: Array(document.lines[range])))
      }
    }
    if let first = steps.first, first.prompt != .shell {
      throw Failure(
        "\(document.path):\(first.range.lowerBound): nothing was started that \(first.prompt.rawValue)is from.")
    }
    self.steps = steps
  }

  private static func typed(_ line: String) -> (Prompt, String)? {
    for prompt in Prompt.allCases where line.hasPrefix(prompt.rawValue) {
      return (prompt, String(line.dropFirst(prompt.rawValue.count)))
    }
    return nil
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }
}

/// Whether `found` is what `shown` says, elisions considered.
func agrees(_ found: ArraySlice<String>, with shown: ArraySlice<String>) -> Bool {
  guard let first = shown.first else { return found.isEmpty }
  let rest = shown.dropFirst()
  if first == "…" { return (found.startIndex...found.endIndex).contains { agrees(found[$0...], with: rest) } }
  guard let line = found.first, isSame(line, as: first) else { return false }
  return agrees(found.dropFirst(), with: rest)
}

private func isSame(_ found: String, as shown: String) -> Bool {
  let pieces = shown.components(separatedBy: "…")
  guard pieces.count > 1, let first = pieces.first, let last = pieces.last else { return found == shown }
  guard found.hasPrefix(first) else { return false }
  var rest = found.dropFirst(first.count)
  for piece in pieces.dropFirst().dropLast() {
    guard let place = rest.dropFirst().range(of: piece) else { return false }
    rest = rest[place.upperBound...]
  }
  return rest.count > last.count && rest.hasSuffix(last)
}
