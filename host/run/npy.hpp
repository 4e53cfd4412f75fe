// NumPy's .npy format: the header, and arrays read row by row (rows of axis 0) as the type that is wanted.
// Big-endian arrays are swapped and Fortran order is transposed; what Python would have to run (object arrays, that is
// pickles) is refused.
// Odd: bfloat16 has no NumPy name; '<V2' (what ml_dtypes writes) reads as bfloat16 where that is wanted.
#pragma once

#include <memory>
#include <string>

#include "run/bytes.hpp"
#include "tare/tensor.hpp"

namespace tare {

struct NpyHeader {
  DataType type = DataType::undefined;
  bool opaque16 = false;  ///< '<V2': bfloat16, said by nobody
  bool swapped = false;
  bool fortran = false;
  Shape shape;
  std::uint64_t data_offset = 0;
};

/// Throws Error(data) when it is no .npy, holds a type without an ONNX one, or its length is not what the header says.
NpyHeader read_npy_header(ByteSource& source);
/// The header NumPy would write, padded to 64 bytes. Throws Error(usage) for types without a NumPy name.
std::string npy_header(DataType type, const Shape& shape, std::string_view what);

/// The types an array may hold when `wanted` is asked for: itself, float64 for float32, int32 for int64.
bool converts(DataType stored, DataType wanted);

class NpyReader {
 public:
  explicit NpyReader(std::shared_ptr<ByteSource> source);

  const Shape& shape() const { return header_.shape; }
  DataType type() const { return header_.type; }
  bool opaque16() const { return header_.opaque16; }
  const std::string& name() const { return source_->name(); }
  ByteSource& source() const { return *source_; }

  Tensor read(DataType wanted) const;
  /// Rows [first, first + count) of axis 0; rank must be at least 1.
  Tensor read_rows(std::int64_t first, std::int64_t count, DataType wanted) const;

 private:
  Tensor read_elements(std::int64_t first, const Shape& shape, DataType wanted) const;
  const Tensor& transposed() const;

  std::shared_ptr<ByteSource> source_;
  NpyHeader header_;
  mutable Tensor transposed_;  ///< the whole array, once, when it lies in Fortran order
};

}  // namespace tare
