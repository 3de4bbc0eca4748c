/// A backtrace, or the place that a debugger stopped at.
struct Backtrace {
  /// The frames, innermost first.
  let frames: [Frame]
  /// The lines it takes, by index.
  let lines: Range<Int>

  /// Reads the backtrace that starts in line `start`, or the stop that GDB tells of there; nil when neither does.
  init?(at start: Int, in text: TextLines) {
    guard let first = FrameLines(at: start, in: text), let innermost = first.frame else { return nil }
    var frames = [innermost]
    var end = first.end
    while !first.isStop, let next = Self.next(after: end, above: frames.last?.number ?? 0, in: text),
      let frame = next.frame
    {
      frames.append(frame)
      end = next.end
    }
    if text[end].trimmed.hasPrefix("Backtrace stopped:") || text[end].trimmed.hasPrefix("(More stack frames follow") {
      end += 1
    }
    self.frames = frames
    lines = start..<end
  }

  /// Lines of local variables that `bt full` may print below a frame, and other lines that may stand before the next one:
  /// the end of a line number that was broken off, a blank line.
  private static let localsLimit = 256, strayLimit = 3

  /// The frame above `number`, past what may stand between.
  private static func next(after line: Int, above number: Int, in text: TextLines) -> FrameLines? {
    var index = line
    for stray in 0...strayLimit {
      while index < text.count, index - line < localsLimit, text[index].hasPrefix("        ") { index += 1 }
      let here = unquoted(text[index])
      if let start = Frame.start(here) {
        let isNext = stray == 0 ? start.number > number : start.number == number + 1
        return isNext ? FrameLines(at: index, in: text) : nil
      }
      if here.hasPrefix("(gdb)") || here.count > 64 { return nil }
      index += 1
    }
    return nil
  }

  /// The functions above frame `position`, innermost first.
  func callers(of position: Int) -> [String] { frames.dropFirst(position + 1).map(\.function) }

  /// Whether both are of one stop: the same function with the same arguments in the innermost frame.
  func isSameStop(as other: Backtrace) -> Bool {
    guard let mine = frames.first, let theirs = other.frames.first else { return false }
    return mine.number == theirs.number && mine.function == theirs.function && mine.arguments == theirs.arguments
      && !mine.arguments.isEmpty
  }
}
