import CZlib

/// Why bytes could not be unzipped, as the end of a sentence.
enum GunzipError: Error, Hashable, Sendable, CustomStringConvertible {
  /// They are no gzip data, or damaged.
  case damaged
  /// They end too early.
  case truncated
  /// More comes out of them than is taken.
  case tooLarge(limit: Int)
  /// zlib cannot work.
  case failed(Int32)

  var description: String {
    switch self {
    case .damaged: "are no gzip data, or damaged"
    case .truncated: "end in the middle of gzip data"
    case .tooLarge(let limit): "unzip to more than \(limit) bytes"
    case .failed(let code): "could not be unzipped: zlib says \(code)"
    }
  }
}

/// What `bytes`, in gzip's format, hold; at most `limit` bytes, because a small input can say anything. Its checksum is
/// compared.
func gunzip(_ bytes: [UInt8], limit: Int) throws(GunzipError) -> [UInt8] {
  var stream = z_stream()
  // 16 asks for gzip's header, 15 is the largest window (zlib.h, inflateInit2).
  let started = inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
  guard started == Z_OK else { throw .failed(started) }
  defer { inflateEnd(&stream) }
  var input = bytes
  var output: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 1 << 16)
  var status = Z_OK
  input.withUnsafeMutableBufferPointer { input in
    stream.next_in = input.baseAddress
    stream.avail_in = uInt(clamping: input.count)
    while status == Z_OK, output.count <= limit {
      let written = piece.withUnsafeMutableBufferPointer { piece in
        stream.next_out = piece.baseAddress
        stream.avail_out = uInt(clamping: piece.count)
        status = inflate(&stream, Z_NO_FLUSH)
        return piece.count - Int(stream.avail_out)
      }
      output += piece.prefix(written)
    }
  }
  guard output.count <= limit else { throw .tooLarge(limit: limit) }
  switch status {
  case Z_STREAM_END: return output
  // There is always room for more output, so what it lacks is input.
  case Z_BUF_ERROR: throw .truncated
  case Z_DATA_ERROR, Z_NEED_DICT: throw .damaged
  default: throw .failed(status)
  }
}
