// Multi-scale deformable attention on a CPU: Deformable DETR (arXiv 2010.04159), equation 3, and its derivatives.
//
// Included once for every instruction set, inside a namespace of its own and after its standard headers, with
// MASKDINO_PACK_BYTES set to the width of its vector registers. Vectors run over the channels of a head.

constexpr int kChunk = 32;  // points prepared at once: their description stays in the first-level cache
constexpr int64_t kSlab = 128;  // channels summed at once

template <typename A>
inline A not_a_number() {
  return static_cast<A>(NAN);
}

inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// How many of the four corners of a point lie on the map: none, some, all; or that there is no telling, because its
// location is not finite. The results of such a point are not numbers, so that a diverging model shows.
enum Place : int32_t { kOutside, kBorder, kInside, kNowhere };

// The points of one query and head, prepared in one loop without branches so that it is vectorised over the points.
template <typename A>
struct Points {
  int32_t place[kChunk];
  int32_t column[kChunk], row[kChunk];  // the upper left corner; -1 where it lies off the map
  int32_t position[kChunk];             // its index in S
  A right[kChunk], lower[kChunk];       // the shares of the right and of the lower corners
  A weight[kChunk];
};

template <typename T, typename A>
inline void prepare(
    const PointLevels<A>& levels, int64_t first, int count, const T* locations, const T* weights, Points<A>& points) {
  const A* widths = levels.width + first;
  const A* heights = levels.height + first;
  const int32_t* columns = levels.columns + first;
  const int32_t* rows = levels.rows + first;
  const int32_t* starts = levels.start + first;
  for (int i = 0; i < count; ++i) {
    const A x = widened(locations[2 * i]) * widths[i] - A(0.5);
    const A y = widened(locations[2 * i + 1]) * heights[i] - A(0.5);
    const A weight = widened(weights[i]);
    const bool finite = (x - x) + (y - y) + (weight - weight) == A(0);
    const bool touches = (x >= -1) & (y >= -1) & (x < widths[i]) & (y < heights[i]);
    const A safe_x = touches ? x : A(0);
    const A safe_y = touches ? y : A(0);
    const int32_t truncated_x = static_cast<int32_t>(safe_x);
    const int32_t truncated_y = static_cast<int32_t>(safe_y);
    const int32_t column = truncated_x - (safe_x < static_cast<A>(truncated_x));
    const int32_t row = truncated_y - (safe_y < static_cast<A>(truncated_y));
    const bool inside = (column >= 0) & (row >= 0) & (column + 1 < columns[i]) & (row + 1 < rows[i]);
    points.place[i] = touches ? (inside ? kInside : kBorder) : (finite ? kOutside : kNowhere);
    points.column[i] = column;
    points.row[i] = row;
    points.position[i] = starts[i] + row * columns[i] + column;
    points.right[i] = safe_x - static_cast<A>(column);
    points.lower[i] = safe_y - static_cast<A>(row);
    points.weight[i] = weight;
  }
}

// The offsets in S of the four corners of a point from its upper left one, and which of them lie on the map.
struct Corners {
  int32_t offset[4];
  bool on_map[4];
};

template <typename A>
inline Corners corners(const PointLevels<A>& levels, int64_t first, const Points<A>& points, int i) {
  const int32_t columns = levels.columns[first + i], rows = levels.rows[first + i];
  const bool left = points.column[i] >= 0, right = points.column[i] + 1 < columns;
  const bool upper = points.row[i] >= 0, lower = points.row[i] + 1 < rows;
  return {{0, 1, columns, columns + 1}, {upper && left, upper && right, lower && left, lower && right}};
}

template <typename A>
inline void shares(const Points<A>& points, int i, A scale, A* share) {
  const A right = points.right[i], lower = points.lower[i] * scale, upper = scale - lower, left = A(1) - right;
  share[0] = upper * left, share[1] = upper * right, share[2] = lower * left, share[3] = lower * right;
}

// Call step.run<LANES, COUNT>(channel) so that the calls cover all channels: as many as four of the widest packs at once,
// single channels at the end. (A lambda would not do: GCC compiles lambdas for the baseline, whatever the target is.)
template <int LANES, int COUNT, typename Step>
inline void cover(const Step& step, int64_t channels, int64_t& channel) {
  for (; channel + LANES * COUNT <= channels; channel += LANES * COUNT) step.template run<LANES, COUNT>(channel);
}

template <typename A, typename Step>
inline void over_channels(const Step& step, int64_t channels) {
  constexpr int wide = MASKDINO_PACK_BYTES / sizeof(A), narrow = 16 / sizeof(A);
  int64_t channel = 0;
  cover<wide, 4>(step, channels, channel);
  cover<wide, 2>(step, channels, channel);
  cover<wide, 1>(step, channels, channel);
  cover<narrow, 1>(step, channels, channel);
  cover<1, 1>(step, channels, channel);
}

// Add what some points contribute to the sums of some channels.
template <typename T, typename A>
struct Gather {
  const PointLevels<A>& levels;
  int64_t first;
  int count;
  const Points<A>& points;
  const T* value;  // the head's first channel at position 0
  int64_t stride;  // from a position to the next
  A* sum;

  template <int LANES, int COUNT>
  void run(int64_t channel) const {
    Pack<A, LANES> total[COUNT];
    for (int k = 0; k < COUNT; ++k) total[k] = load<A, LANES>(sum + channel + k * LANES);
    for (int i = 0; i < count; ++i) {
      if (points.place[i] == kOutside) continue;
      const T* corner = value + points.position[i] * stride + channel;
      A share[4];
      shares(points, i, points.weight[i], share);
      if (points.place[i] == kInside) {
        const T* below = corner + levels.columns[first + i] * stride;
        for (int k = 0; k < COUNT; ++k) {
          const int c = k * LANES;
          total[k] = total[k] + load<A, LANES>(corner + c) * share[0];
          total[k] = total[k] + load<A, LANES>(corner + stride + c) * share[1];
          total[k] = total[k] + load<A, LANES>(below + c) * share[2];
          total[k] = total[k] + load<A, LANES>(below + stride + c) * share[3];
        }
      } else if (points.place[i] == kBorder) {
        const Corners four = corners(levels, first, points, i);
        for (int n = 0; n < 4; ++n) {
          if (!four.on_map[n]) continue;
          const T* source = corner + four.offset[n] * stride;
          for (int k = 0; k < COUNT; ++k) total[k] = total[k] + load<A, LANES>(source + k * LANES) * share[n];
        }
      } else {
        for (int k = 0; k < COUNT; ++k) total[k] = total[k] * not_a_number<A>();
      }
    }
    for (int k = 0; k < COUNT; ++k) store<A, LANES>(total[k], sum + channel + k * LANES);
  }
};

template <typename T, typename A>
void forward(const Problem<T, A>& problem, int64_t begin, int64_t end) {
  const int64_t stride = problem.heads * problem.width;
  Points<A> points;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / problem.queries;
    for (int64_t head = 0; head < problem.heads; ++head) {
      const int64_t row = task * problem.heads + head;
      const T* value = problem.value + image * problem.positions * stride + head * problem.width;
      for (int64_t slab = 0; slab < problem.width; slab += kSlab) {
        const int64_t channels = lesser(kSlab, problem.width - slab);
        A sum[kSlab] = {};
        for (int64_t first = 0; first < problem.points; first += kChunk) {
          const int count = static_cast<int>(lesser(kChunk, problem.points - first));
          const int64_t point = row * problem.points + first;
          prepare(problem.levels, first, count, problem.locations + 2 * point, problem.weights + point, points);
          const Gather<T, A> gather{problem.levels, first, count, points, value + slab, stride, sum};
          over_channels<A>(gather, channels);
        }
        T* output = problem.output + row * problem.width + slab;
        for (int64_t c = 0; c < channels; ++c) narrow(sum[c], output + c);
      }
    }
  }
}

// Add the products of the output's gradient with the four corners of some points, and spread it over the corners.
template <typename T, typename A>
struct Scatter {
  const PointLevels<A>& levels;
  int64_t first;
  int count;
  const Points<A>& points;
  const T* value;
  A* grad_value;
  int64_t stride;
  const T* grad_output;
  A* dots;  // four a point, one a corner; stays 0 for a corner off the map

  template <int LANES, int COUNT>
  void run(int64_t channel) const {
    Pack<A, LANES> grad[COUNT];
    for (int k = 0; k < COUNT; ++k) grad[k] = load<A, LANES>(grad_output + channel + k * LANES);
    for (int i = 0; i < count; ++i) {
      if (points.place[i] == kOutside) continue;
      if (points.place[i] == kNowhere) {
        for (int n = 0; n < 4; ++n) dots[4 * i + n] = not_a_number<A>();
        continue;
      }
      const int64_t position = points.position[i] * stride + channel;
      const Corners four = corners(levels, first, points, i);
      A share[4];
      shares(points, i, points.weight[i], share);
      Pack<A, LANES> dot[4] = {};
      for (int n = 0; n < 4; ++n) {
        if (!four.on_map[n]) continue;
        const T* source = value + position + four.offset[n] * stride;
        A* target = grad_value + position + four.offset[n] * stride;
        for (int k = 0; k < COUNT; ++k) {
          const int c = k * LANES;
          dot[n] = dot[n] + grad[k] * load<A, LANES>(source + c);
          store<A, LANES>(load<A, LANES>(target + c) + grad[k] * share[n], target + c);
        }
      }
      A sum[4];
      sums<A, LANES>(dot[0], dot[1], dot[2], dot[3], sum);
      for (int n = 0; n < 4; ++n) dots[4 * i + n] += sum[n];
    }
  }
};

// Turn the products of the corners into the gradients of some points' weights and locations.
template <typename T, typename A>
inline void differentiate(
    const PointLevels<A>& levels, int64_t first, int count, const Points<A>& points, const A* dots, T* grad_locations,
    T* grad_weights) {
  for (int i = 0; i < count; ++i) {
    const A* dot = dots + 4 * i;
    const A right = points.right[i], lower = points.lower[i], weight = points.weight[i];
    const A upper_row = dot[0] + right * (dot[1] - dot[0]), lower_row = dot[2] + right * (dot[3] - dot[2]);
    const A along_x = (A(1) - lower) * (dot[1] - dot[0]) + lower * (dot[3] - dot[2]);
    const A along_y = lower_row - upper_row;
    narrow(upper_row + lower * along_y, grad_weights + i);
    narrow(weight * levels.width[first + i] * along_x, grad_locations + 2 * i);
    narrow(weight * levels.height[first + i] * along_y, grad_locations + 2 * i + 1);
  }
}

template <typename T, typename A>
void backward(const Problem<T, A>& problem, int64_t begin, int64_t end) {
  const int64_t stride = problem.heads * problem.width;
  Points<A> points;
  // The heads of one image go through the queries together: neighbouring heads are neighbours in memory too.
  for (int64_t task = begin; task < end;) {
    const int64_t image = task / problem.heads;
    const int64_t first_head = task % problem.heads;
    const int64_t last_head = lesser(problem.heads, first_head + end - task);
    task += last_head - first_head;
    for (int64_t query = 0; query < problem.queries; ++query) {
      for (int64_t head = first_head; head < last_head; ++head) {
        const int64_t row = (image * problem.queries + query) * problem.heads + head;
        const int64_t slice = image * problem.positions * stride + head * problem.width;
        for (int64_t first = 0; first < problem.points; first += kChunk) {
          const int count = static_cast<int>(lesser(kChunk, problem.points - first));
          const int64_t point = row * problem.points + first;
          prepare(problem.levels, first, count, problem.locations + 2 * point, problem.weights + point, points);
          A dots[4 * kChunk] = {};
          const Scatter<T, A> scatter{
              problem.levels, first, count, points, problem.value + slice, problem.grad_value + slice, stride,
              problem.grad_output + row * problem.width, dots};
          over_channels<A>(scatter, problem.width);
          differentiate(
              problem.levels, first, count, points, dots, problem.grad_locations + 2 * point, problem.grad_weights + point);
        }
      }
    }
  }
}

// The table of this instruction set.
inline Kernels kernels() {
  return {forward<float, float>, backward<float, float>, forward<double, double>, backward<double, double>,
          forward<BFloat16, float>, backward<BFloat16, float>};
}
