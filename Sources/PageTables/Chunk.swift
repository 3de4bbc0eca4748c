/// Memory for a fixed number of plain values, handed out again and again.
final class Chunk<Element: BitwiseCopyable> {
  let capacity: Int
  let elements: UnsafeMutablePointer<Element>

  init(capacity: Int) {
    self.capacity = capacity
    elements = .allocate(capacity: capacity)
  }

  deinit { elements.deallocate() }

  @inline(__always) subscript(position: Int) -> Element { elements[position] }

  func buffer(_ positions: Range<Int>) -> UnsafeBufferPointer<Element> {
    UnsafeBufferPointer(start: elements + positions.lowerBound, count: positions.count)
  }
}
