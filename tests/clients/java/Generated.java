package javax.annotation;

/** What generated classes are marked with; the JDK has none of this name since version 9. */
public @interface Generated {
    String[] value();

    String date() default "";

    String comments() default "";
}
