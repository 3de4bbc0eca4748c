/// A report that cannot be made as it was asked for: a file's ending, an option, a template. One full sentence.
public struct ReportError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The sentence.
  public let description: String
  /// An error with this sentence.
  public init(_ description: String) { self.description = description }
}
