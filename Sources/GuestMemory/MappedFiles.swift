import CMappedFile

/// What all files have in common that this process has mapped to read guest memory.
public enum MappedFiles {
  /// How many pages were lost so far because their file was cut shorter. A source that was opened before the number grew may
  /// hold zeros where its guest does not.
  public static var lostPages: UInt { iommulens_lost_pages() }

  /// Runs `body`, in whose result nobody can trust where a file was cut shorter while `body` read it: then throws
  /// ``MemoryError/cutShort(path:)``, also in place of the body's own error.
  public static func unlessCut<Result>(_ body: () throws -> Result) throws -> Result {
    let result = Swift.Result { try body() }
    if let path = iommulens_take_loss() { throw MemoryError.cutShort(path: String(cString: path)) }
    return try result.get()
  }
}
